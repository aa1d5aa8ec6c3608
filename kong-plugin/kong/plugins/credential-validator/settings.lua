-- Law of this file: what follows from a plugin's configuration, worked out once for as long as it stays the same.

local health = require "kong.plugins.credential-validator.health"
local identity = require "kong.plugins.credential-validator.identity"
local memo = require "kong.plugins.credential-validator.memo"
local targets = require "kong.plugins.credential-validator.target"

local concat, crc32_long, ipairs = table.concat, ngx.crc32_long, ipairs
local tostring, unpack = tostring, unpack

local MAX_CONFIGURATIONS = 16384 -- every push of a configuration makes new ones

local known = memo.new(MAX_CONFIGURATIONS)
local made = 0

local _M = {}

-- Where its kept decisions stand: under Kong's id of this plugin's instance, before 3.3 the key it is looked up by,
-- which no two instances share, and under what else a decision rests on, since a change of that leaves Kong's cache as
-- it is. Nil where they cannot be told from another's.
local function scope_of(conf)
  local instance = conf.__plugin_id or conf.__key__
  if not instance then
    return nil
  end
  local terms = {
    conf.validator_url or "", concat(conf.fallback_validator_urls or {}, " "), concat(conf.upstream_headers or {}, " "),
    tostring(conf.forward_minted_token), tostring(conf.tls_verify), conf.tls_server_name or "",
  }
  return instance .. ":" .. crc32_long(concat(terms, "\n"))
end

-- Connections with other terms are no use to this one: they stay in pools of their own.
local function pool_of(conf, target)
  if not target.tls then
    return target.pool
  end
  if conf.tls_client_certificate or conf.tls_client_key then
    return target.pool .. " " .. made
  end
  return target.pool .. " " .. (conf.tls_server_name or "") .. " " .. tostring(conf.tls_verify)
end

local function read_targets(conf)
  if not conf.validator_url then -- a vault that has nothing, in Kong 3.0
    return nil, "validator_url is empty"
  end
  local found = {}
  for at, url in ipairs { conf.validator_url, unpack(conf.fallback_validator_urls or {}) } do
    local target, err = targets.parse(url)
    if not target then
      return nil, "validator_url: " .. err
    end
    target.pool = pool_of(conf, target)
    target.tls = target.tls and (conf.tls_server_name or target.tls)
    target.health = health.new()
    found[at] = target
  end
  return found
end

local function read(conf)
  made = made + 1
  local settings = {
    scope = scope_of(conf),
    names = identity.names(conf.upstream_headers),
    strategy = concat({ conf.strategy, unpack(conf.additional_strategies or {}) }, ","),
    paths = {},
    validator_url = conf.validator_url,
    tls_client_certificate = conf.tls_client_certificate,
    tls_client_key = conf.tls_client_key,
  }
  settings.strategies, settings.err = targets.strategies(conf.strategy, conf.additional_strategies)
  if not settings.err then
    settings.targets, settings.err = read_targets(conf)
  end
  return settings
end

-- Values that a vault holds change in place.
local function is_current(settings, conf)
  return settings.validator_url == conf.validator_url
    and settings.tls_client_certificate == conf.tls_client_certificate
    and settings.tls_client_key == conf.tls_client_key
end

-- { scope, names, strategy, strategies, targets, err }, `strategies` as in a path; `err` says why nothing can be
-- asked.
function _M.of(conf)
  local settings = memo.get(known, conf)
  if not settings or not is_current(settings, conf) then
    settings = read(conf)
    memo.put(known, conf, settings)
  end
  return settings
end

-- What is asked of a sidecar about a request for the service; or nil and why.
function _M.path(settings, service)
  local path, err = settings.paths[service], settings.err
  if not path and not err then
    path, err = targets.path(settings.strategies, service)
    settings.paths[service] = path
  end
  return path, err
end

return _M
