-- Law of this file: the session's cookies join those of the upstream on whatever the client gets, and are kept by
-- nobody in between.

local concat, find, gmatch, lower, match = table.concat, string.find, string.gmatch, string.lower, string.match
local ipairs, type = ipairs, type

-- In ngx.ctx, which costs a look: kong.ctx.plugin would make a table for every request, and hardly any needs one.
local SESSION = {}
local MAX_HEADERS = 1000 -- Kong's bound
local REPLACE = { mode = "replace" }
local FOR_ALL = { public = true, ["s-maxage"] = true }
local NOT_FOR_ALL = { private = true, ["no-store"] = true }

local _M = {}

-- Remembers the reply's cookies until the response's headers are sent.
function _M.hold(reply)
  if reply.set_cookies then
    ngx.ctx[SESSION] = reply.set_cookies
  end
end

local function all_of(name)
  local value = kong.response.get_headers(MAX_HEADERS)[name]
  return type(value) == "table" and value or { value }
end

-- Whether Kong's own list of the plugins that see this response, in 3.0 one for all phases, has one that stores it.
-- Nothing promises that list: it only ever adds caution.
local function meets_a_cache()
  local plugins = ngx.ctx.plugins
  local list = type(plugins) == "table" and (plugins.header_filter or plugins)
  if type(list) ~= "table" then
    return false
  end
  for at = 1, list[0] or 0 do
    local name = type(list[at]) == "table" and list[at].name
    if type(name) == "string" and find(name, "proxy-cache", 1, true) then
      return true
    end
  end
  return false
end

-- Whether proxy-cache is about to store the response, with every header that it has by now: it then says Miss or
-- Refresh, or Bypass where it has made a key.
local function is_stored()
  local said = {} -- also by an upstream that has a cache of its own
  for _, status in ipairs(all_of("x-cache-status")) do
    said[status] = true
  end
  if said.Miss or said.Refresh or said.Bypass and kong.response.get_header("x-cache-key") then
    return true
  end
  if said.Bypass or not meets_a_cache() then
    return false
  end
  -- It may be told to say nothing, but leaves a sign of having answered from what it has.
  return not (kong.ctx.shared.proxy_cache_hit or said.Hit and kong.response.get_source() == "exit")
end

-- RFC 9111 section 7.3: a cookie by itself keeps no shared cache from storing a response.
local function keep_from_caches()
  local kept = { "private" }
  for directive in gmatch(concat(all_of("cache-control"), ","), "[^,%s][^,]*") do
    local name = match(lower(directive), "^[^%s=]*")
    if NOT_FOR_ALL[name] and not find(directive, "=", 1, true) then
      return
    end
    if not FOR_ALL[name] then
      kept[#kept + 1] = directive
    end
  end
  kong.response.set_header("Cache-Control", concat(kept, ", "))
end

-- The header_filter phase.
function _M.pass_on()
  local cookies = ngx.ctx[SESSION]
  if not cookies or is_stored() then
    return
  end
  keep_from_caches()
  for at = 1, #cookies do
    kong.response.add_header("Set-Cookie", cookies[at])
  end
  -- Kong's logging plugins get every header of the response: a session's cookie is as good as its credential.
  kong.log.set_serialize_value("response.headers.set-cookie", "REDACTED", REPLACE)
end

return _M
