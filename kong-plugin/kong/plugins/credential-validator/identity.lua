-- Law of this file: which headers tell the upstream who is calling, and that none of them comes from the client.

local byte, find, lower, sub = string.byte, string.find, string.lower, string.sub
local ipairs, pairs, type, upper = ipairs, pairs, type, string.upper

-- Set by this plugin alone, or after it in the plugins' order.
local OURS = {
  "X-Application-Id", "X-Application-Name", "X-Auth-Method", "X-Session-Id",
  "X-Consumer-Groups", "X-Authenticated-Groups",
}
-- Set by any authentication plugin.
local SHARED = {
  "X-Credential-Identifier", "X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username", "X-Anonymous-Consumer",
}

-- Kong lets underscores through, and a CGI or WSGI upstream reads them as hyphens, in any mixture.
local function add_spellings(name, at, into)
  local hyphen = find(name, "-", at, true)
  if not hyphen then
    into[name] = true
    return
  end
  add_spellings(name, hyphen + 1, into)
  add_spellings(sub(name, 1, hyphen - 1) .. "_" .. sub(name, hyphen + 1), hyphen + 1, into)
end

local EVERY_SPELLING = {}
for _, names in ipairs { OURS, SHARED } do
  for _, name in ipairs(names) do
    add_spellings(lower(name), 1, EVERY_SPELLING)
  end
end

local SHARED_EXACT = {}
for _, name in ipairs(SHARED) do
  SHARED_EXACT[lower(name)] = true
end

-- How any of them begins: other headers need no second look.
local FIRST = {}
for name in pairs(EVERY_SPELLING) do
  FIRST[byte(name)], FIRST[byte(upper(name))] = true, true
end

local _M = { EVERY_SPELLING = EVERY_SPELLING }

-- Removes every identity header from the request that goes upstream. `received` are the request's headers, read with
-- a limit of `limit` lines. With `keep_shared`, another plugin has authenticated this request and has set those
-- headers that it shares with this one. Returns whether `received` may lack some of the request's headers.
function _M.clear(received, limit, keep_shared)
  local clear_header = kong.service.request.clear_header
  local lines = 0
  for name, value in pairs(received) do
    lines = lines + (type(value) == "table" and #value or 1)
    if FIRST[byte(name)] then
      local spelled = lower(name)
      if EVERY_SPELLING[spelled] and not (keep_shared and SHARED_EXACT[spelled]) then
        clear_header(name)
      end
    end
  end
  if lines < limit then
    return false
  end
  for name in pairs(EVERY_SPELLING) do
    if not (keep_shared and SHARED_EXACT[name]) then
      clear_header(name)
    end
  end
  return true
end

-- Tells the upstream which application calls; on a cleared request.
function _M.set_application(identity)
  local set_header = kong.service.request.set_header
  -- One by one: the loop would keep LuaJIT from compiling what is around it.
  set_header("X-Application-Id", identity["X-Application-Id"])
  set_header("X-Credential-Identifier", identity["X-Credential-Identifier"])
  set_header("X-Auth-Method", identity["X-Auth-Method"])
  if identity["X-Application-Name"] ~= "" then
    set_header("X-Application-Name", identity["X-Application-Name"])
  end
end

-- Tells the upstream that nobody is known, under the name that the operator gave to nobody; on a cleared request.
function _M.set_anonymous(consumer)
  local set_header = kong.service.request.set_header
  set_header("X-Anonymous-Consumer", "true")
  set_header("X-Consumer-ID", consumer.id)
  if consumer.custom_id then
    set_header("X-Consumer-Custom-ID", consumer.custom_id)
  end
  if consumer.username then
    set_header("X-Consumer-Username", consumer.username)
  end
end

return _M
