-- Law of this file: kong.client and, under it, kong.db.consumers: who calls, and what Kong's database knows of them.

local phases = require "pdk_phases"

local check_phase = phases.check
local error, find, ipairs, type = error, string.find, ipairs, type

local ACCESS, AUTHENTICATED = phases.access, phases.authenticated
local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"
local WORKSPACE = "e7a0a1f4-6a55-4a0e-9d38-6f4f4b8f0c01"

local _M = {}

-- kong.db of a gateway with these consumers. Its member `broken` holds the error that every look-up then gives.
function _M.database(consumers)
  local db, dao = {}, {}

  local function select_by(field, value)
    if db.broken then
      return nil, db.broken, { message = db.broken }
    end
    for _, consumer in ipairs(consumers) do
      if consumer[field] == value then
        return consumer
      end
    end
    return nil
  end

  local function selector(field)
    return function(_, value)
      if type(value) ~= "string" then
        error(field .. " must be a string", 2)
      elseif value == "" then
        return nil, "[postgres] invalid unique(" .. field .. "='')"
      end
      return select_by(field, value)
    end
  end

  function dao.select(_, key)
    if type(key) ~= "table" then
      error("primary_key must be a table", 2)
    end
    return select_by("id", key.id)
  end

  function dao.cache_key(_, key)
    return "consumers:" .. (type(key) == "table" and key.id or key) .. ":::::" .. WORKSPACE
  end

  dao.select_by_username, dao.select_by_custom_id = selector "username", selector "custom_id"
  db.consumers = dao
  return db
end

function _M.client()
  local client = {}

  function client.authenticate(consumer, credential)
    check_phase(ACCESS)
    if consumer ~= nil and type(consumer) ~= "table" then
      error("consumer must be a table or nil", 2)
    elseif credential ~= nil and type(credential) ~= "table" then
      error("credential must be a table or nil", 2)
    elseif consumer == nil and credential == nil then
      error("either credential or consumer must be provided", 2)
    end
    local ctx = ngx.ctx
    ctx.authenticated_consumer = consumer
    ctx.authenticated_credential = credential
  end

  function client.get_credential()
    check_phase(AUTHENTICATED)
    return ngx.ctx.authenticated_credential
  end

  function client.get_consumer()
    check_phase(AUTHENTICATED)
    return ngx.ctx.authenticated_consumer
  end

  function client.load_consumer(id, search_by_username)
    check_phase(AUTHENTICATED)
    if type(id) ~= "string" then
      error("consumer_id must be a string", 2)
    end
    local is_uuid = find(id, UUID)
    if not is_uuid and not search_by_username then
      error("cannot load a consumer with an id that is not a uuid", 2)
    end
    if is_uuid then
      local consumer, err = kong.db.consumers:select { id = id }
      if consumer or err then
        return consumer, err
      end
    end
    if search_by_username then
      return kong.db.consumers:select_by_username(id)
    end
  end

  function client.get_forwarded_ip()
    return ngx.var.remote_addr
  end

  client.get_ip = client.get_forwarded_ip
  return client
end

return _M
