-- Law of this file: the session's cookies join those of the upstream on whatever the client gets, and are kept by
-- nobody in between.

local concat, find, gmatch, lower, match = table.concat, string.find, string.gmatch, string.lower, string.match
local ipairs, type = ipairs, type

-- In ngx.ctx, which costs a look: kong.ctx.plugin would make a table for every request, and hardly any needs one.
local SESSION = {}
-- What proxy-cache says of a response that it is about to store, with every header that it has by now. After the third
-- it stores only if it also made a key.
local STORES = { Miss = true, Refresh = true }
local MAY_STORE = "Bypass"
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
  local value = kong.response.get_headers()[name]
  return type(value) == "table" and value or { value }
end

local function is_stored()
  for _, status in ipairs(all_of("x-cache-status")) do
    if STORES[status] or status == MAY_STORE and kong.response.get_header("x-cache-key") then
      return true
    end
  end
  return false
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
end

return _M
