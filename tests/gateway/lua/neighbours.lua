-- Law of this file: other plugins of a route, as small as they can be and still true in what they read, set and answer.
-- Each has the priority of the one that it stands for.

local json = require "json"

local concat, floor, ipairs, pairs = table.concat, math.floor, ipairs, pairs
local tonumber, type = tonumber, type

local _M = {}

-- Any authentication plugin that runs before and has let the request through.
_M["key-auth"] = { PRIORITY = 1250 }

_M["key-auth"].access = function(_, conf)
  kong.client.authenticate(conf.consumer, conf.credential)
  for name, value in pairs(conf.headers or {}) do
    kong.service.request.set_header(name, value)
  end
end

_M.acl = { PRIORITY = 950 }

local function holds(groups, wanted)
  for _, group in ipairs(wanted) do
    for _, one in ipairs(groups) do
      if one == group then
        return true
      end
    end
  end
  return false
end

-- The groups that count, and the header that tells the upstream of them: those of a known consumer come from the
-- database (`conf.consumer_groups`, by consumer id), whatever the plugin before has found, unless nobody has a
-- credential or `always_use_authenticated_groups` (from Kong 3.8 on) says so.
local function groups_of(conf)
  local consumer, credential = kong.client.get_consumer(), kong.client.get_credential()
  local consumer_id = consumer and consumer.id or credential and credential.consumer_id
  local told = kong.ctx.shared.authenticated_groups
  told = type(told) == "table" and told or nil
  if not consumer_id then
    return told, "X-Authenticated-Groups"
  elseif told and (not credential or conf.always_use_authenticated_groups) then
    return told, "X-Authenticated-Groups"
  end
  return (conf.consumer_groups or {})[consumer_id] or conf.deny and {}, "X-Consumer-Groups"
end

function _M.acl.access(_, conf)
  local groups, header = groups_of(conf)
  if not groups then
    if kong.client.get_credential() then
      return kong.response.error(403, "You cannot consume this service")
    end
    return kong.response.error(401)
  end
  local blocked
  if conf.deny then
    blocked = holds(groups, conf.deny)
  else
    blocked = not holds(groups, conf.allow)
  end
  if blocked then
    return kong.response.error(403, "You cannot consume this service")
  end
  if not conf.hide_groups_header then
    kong.service.request.set_header(header, concat(groups, ", "))
  end
end

-- `conf.minute` requests for each identifier, for ever.
_M["rate-limiting"] = { PRIORITY = 910 }

local counted = {}

local function identifier(conf)
  local consumer, credential = kong.client.get_consumer(), kong.client.get_credential()
  if conf.limit_by == "credential" then
    return credential and credential.id or kong.client.get_forwarded_ip()
  end
  return consumer and consumer.id or credential and credential.id or kong.client.get_forwarded_ip()
end

_M["rate-limiting"].access = function(_, conf)
  local key = identifier(conf)
  local used = counted[conf] or {}
  counted[conf] = used
  local remaining = conf.minute - (used[key] or 0)
  if remaining <= 0 then
    ngx.header["RateLimit-Remaining"] = 0
    ngx.header["Retry-After"] = 60
    return kong.response.error(429, "API rate limit exceeded")
  end
  ngx.header["RateLimit-Remaining"] = remaining - 1
  used[key] = used[key] and used[key] + 1 or 1
end

-- Keyed by consumer, route, method and path, and by no credential. Every response header that is there when its
-- header_filter runs is stored, those of the plugins before it included, and replayed to whoever comes next.
_M["proxy-cache"] = { PRIORITY = 100 }

local stored = {}

local HOP_BY_HOP = {
  connection = true, ["keep-alive"] = true, ["proxy-authenticate"] = true, ["proxy-authorization"] = true, te = true,
  trailers = true, ["transfer-encoding"] = true, upgrade = true, ["content-length"] = true,
}
-- Of its own making, by the names that they come under from nginx.
local OWN = { Age = true, ["X-Cache-Status"] = true, ["X-Cache-Key"] = true }

-- From Kong 3.5 on `conf.response_headers` may keep any of its own headers from being seen.
local function shows(conf, name)
  return ngx.var.http_kong_debug or not conf.response_headers or conf.response_headers[name]
end

local function mark(conf, name, value)
  if shows(conf, name) then
    kong.response.set_header(name, value)
  end
end

local function replayed(conf, entry)
  local headers = {}
  for name, value in pairs(entry.headers) do
    local lowered = name:lower()
    if not HOP_BY_HOP[lowered] and not lowered:find("ratelimit-remaining", 1, true) and not OWN[name] then
      headers[name] = value
    end
  end
  headers.age = shows(conf, "age") and floor(ngx.time() - entry.at) or nil
  headers["X-Cache-Status"] = shows(conf, "X-Cache-Status") and "Hit" or nil
  return headers
end

local function directives(value)
  return (value or ""):lower()
end

-- Seconds of a stored response's life, as its upstream says.
local function ttl_of(said)
  return tonumber(said:match "s%-maxage=(%d+)" or said:match "max%-age=(%d+)") or 0
end

local function is_stale(conf, entry, asked)
  local age = ngx.time() - entry.at
  if conf.cache_control then
    local max_age, min_fresh = asked:match "max%-age=(%d+)", asked:match "min%-fresh=(%d+)"
    return max_age and age > tonumber(max_age) or min_fresh and entry.ttl - age < tonumber(min_fresh)
  end
  return age > (conf.cache_ttl or 300)
end

-- The response to this request is to be stored.
local function begin(conf, key, status)
  kong.ctx.plugin.proxy_cache = { key = key }
  return mark(conf, "X-Cache-Status", status)
end

-- `conf.outdated`: what is stored was stored by another version.
_M["proxy-cache"].access = function(_, conf)
  local method = kong.request.get_method()
  local asked = directives(conf.cache_control and kong.request.get_header("Cache-Control"))
  if method ~= "GET" and method ~= "HEAD" or asked:find "no%-store" or asked:find "no%-cache" then
    return mark(conf, "X-Cache-Status", "Bypass")
  end
  local consumer = kong.client.get_consumer()
  local key = (consumer and consumer.id or "") .. "|" .. kong.router.get_route().id .. "|" .. method .. "|"
    .. ngx.var.request_uri
  mark(conf, "X-Cache-Key", ngx.md5(key))
  local entry = stored[key]
  if not entry then
    return begin(conf, key, "Miss")
  elseif conf.outdated then
    return begin(conf, key, "Bypass")
  elseif is_stale(conf, entry, asked) then
    return begin(conf, key, "Refresh")
  end
  kong.ctx.shared.proxy_cache_hit = { res = entry } -- for logging plugins
  ngx.ctx.KONG_PROXIED = true
  return kong.response.exit(entry.status, entry.body, replayed(conf, entry))
end

-- `cache_control` is off in Kong unless it is asked for: private and no-store are then cached as well.
_M["proxy-cache"].header_filter = function(_, conf)
  local cache = kong.ctx.plugin.proxy_cache
  if not cache then
    return
  end
  local status, said = kong.response.get_status(), directives(ngx.var.sent_http_cache_control)
  cache.ttl = ttl_of(said)
  local forbidden = conf.cache_control
    and (said:find "private" or said:find "no%-store" or said:find "no%-cache" or cache.ttl <= 0)
  if status ~= 200 and status ~= 301 and status ~= 404 or forbidden then
    mark(conf, "X-Cache-Status", "Bypass")
    kong.ctx.plugin.proxy_cache = nil
    return
  end
  cache.headers = ngx.resp.get_headers(0, true)
end

_M["proxy-cache"].body_filter = function()
  local cache = kong.ctx.plugin.proxy_cache
  if not cache then
    return
  end
  cache.body = (cache.body or "") .. (ngx.arg[1] or "")
  if ngx.arg[2] then
    stored[cache.key] = {
      status = ngx.status, headers = cache.headers, body = cache.body, at = ngx.time(), ttl = cache.ttl,
    }
  end
end

_M["request-termination"] = { PRIORITY = 2 }

_M["request-termination"].access = function(_, conf)
  if conf.body then
    return kong.response.exit(conf.status_code or 503, conf.body, { ["Content-Type"] = conf.content_type })
  end
  return kong.response.exit(conf.status_code or 503, conf.message and { message = conf.message })
end

-- Shows what the plugins before it have left in kong.ctx.shared: to the upstream, and to whoever reads the log.
_M["post-function"] = { PRIORITY = -1000 }

_M["post-function"].access = function()
  kong.service.request.set_header("Gateway-Shared", json.encode(kong.ctx.shared))
end

_M["post-function"].log = function()
  for name, value in pairs(kong.ctx.shared) do
    kong.log.set_serialize_value("shared." .. name, value) -- one by one: a table that is there twice is refused
  end
end

-- Throws, as a plugin with a mistake in it.
_M.broken = { PRIORITY = 500, access = function()
  error("broken by intention")
end }

return _M
