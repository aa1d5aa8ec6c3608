-- Law of this file: which of Kong's consumers stands for an application, or for nobody.

local kinds = { custom_id = "select_by_custom_id", username = "select_by_username" }

-- A deleted consumer stays in use no longer than that where Kong's invalidation does not reach the key.
local CACHE = { ttl = 60, neg_ttl = 5, resurrect_ttl = 0.001 }

local _M = {}

local function select(method, value)
  local consumers = kong.db.consumers
  return consumers[method](consumers, value)
end

-- The consumer that the configuration maps an application to; nil where there is none, nil and why where that cannot
-- be known.
function _M.of_application(conf, identity)
  local value = conf.consumer_value == "credential_identifier" and identity["X-Credential-Identifier"]
    or identity["X-Application-Id"]
  -- A key of our own, as under Kong's a name that looks like an id means that id.
  local key = kong.db.consumers:cache_key("credential-validator:" .. conf.consumer_by .. ":" .. value)
  return kong.cache:get(key, CACHE, select, kinds[conf.consumer_by], value)
end

-- The consumer by id or username that stands for nobody; as above.
function _M.anonymous(name)
  return kong.cache:get(kong.db.consumers:cache_key(name), CACHE, kong.client.load_consumer, name, true)
end

return _M
