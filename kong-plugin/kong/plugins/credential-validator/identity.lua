-- Law of this file: which headers tell the upstream who is calling, and that none of them comes from the client.

local header_in = require "kong.plugins.credential-validator.received"

local byte, concat, find, gmatch = string.byte, table.concat, string.find, string.gmatch
local gsub, ipairs, lower, pairs = string.gsub, ipairs, string.lower, pairs
local type = type
local get_headers = ngx.req.get_headers

local ALL = 0 -- for ngx.req.get_headers: without a limit

-- Set by this plugin alone, or after it in the plugins' order.
local OURS = {
  "x-application-id", "x-application-name", "x-auth-method", "x-session-id", "x-application-groups",
  "x-consumer-groups", "x-authenticated-groups",
}
-- Set by any authentication plugin.
local SHARED = {
  "x-credential-identifier", "x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-anonymous-consumer",
}

local _M = {}

local function add(names, name, kind)
  names.kinds[name] = kind
  -- How any of them begins: other headers need no second look.
  names.first[byte(name)] = true
end

-- The headers that are removed, and `upstream`, those of the strategy's own, each { name, lower }.
function _M.names(upstream_headers)
  local names = { kinds = {}, first = {}, upstream = {} }
  for at, name in ipairs(upstream_headers or {}) do
    names.upstream[at] = { name = name, lower = lower(name) }
    add(names, lower(name), "ours")
  end
  for _, name in ipairs(OURS) do
    add(names, name, "ours")
  end
  for _, name in ipairs(SHARED) do
    add(names, name, "shared")
  end
  return names
end

-- Kong lets underscores through, and a CGI or WSGI upstream reads them as hyphens, in any mixture.
local function kind_of(names, name)
  local spelled = find(name, "_", 1, true) and gsub(name, "_", "-") or name
  return names.kinds[spelled], spelled == name
end

-- Removes every identity header from the request that goes upstream. `received` are the request's headers, read with
-- a limit of `limit` lines. With `keep_shared`, another plugin has authenticated this request and has set those
-- headers that it shares with this one. Returns all headers, and whether `received` may lack some of them.
function _M.clear(names, received, limit, keep_shared)
  local clear_header, first = kong.service.request.clear_header, names.first
  local count = 0
  for name, value in pairs(received) do
    count = count + (type(value) == "table" and #value or 1)
    if first[byte(name)] then
      local kind, exact = kind_of(names, name)
      if kind and not (keep_shared and exact and kind == "shared") then
        clear_header(name)
      end
    end
  end
  if count < limit or limit == ALL then
    return received, false
  end
  return _M.clear(names, get_headers(ALL), ALL, keep_shared), true
end

-- Whether the request's own Connection header names one of those that tell who is calling, or Authorization: Kong
-- removes what is named there as hop by hop (RFC 9110 section 7.6.1), and does so after its plugins.
function _M.named_in_connection(names, received)
  local connection = header_in(received, "connection")
  if not connection or connection == "keep-alive" or connection == "close" then
    return false
  end
  connection = type(connection) == "table" and concat(connection, ",") or connection
  for name in gmatch(lower(connection), "[^,%s]+") do
    if name == "authorization" or kind_of(names, name) then
      return true
    end
  end
  return false
end

-- Tells the upstream which application calls; on a cleared request.
function _M.set_application(names, reply)
  local set_header = kong.service.request.set_header
  local identity = reply.identity
  -- One by one: the loop would keep LuaJIT from compiling what is around it.
  set_header("X-Application-Id", identity["X-Application-Id"])
  set_header("X-Credential-Identifier", identity["X-Credential-Identifier"])
  set_header("X-Auth-Method", identity["X-Auth-Method"])
  if identity["X-Application-Name"] ~= "" then
    set_header("X-Application-Name", identity["X-Application-Name"])
  end
  if reply.groups then
    set_header("X-Application-Groups", reply.groups)
  end
  if reply.others and names.upstream[1] then
    for _, header in ipairs(names.upstream) do
      local value = reply.others[header.lower]
      if value then
        set_header(header.name, value)
      end
    end
  end
end

-- The one of the strategy's headers that a reply gives in a form that nobody may be told, or nil.
function _M.misfit(names, reply)
  for _, header in ipairs(names.upstream) do
    if reply.others and reply.others[header.lower] == false then
      return header.name
    end
  end
  return nil
end

-- Tells the upstream which of Kong's consumers calls; on a cleared request.
function _M.set_consumer(consumer)
  local set_header = kong.service.request.set_header
  set_header("X-Consumer-ID", consumer.id)
  if consumer.custom_id then
    set_header("X-Consumer-Custom-ID", consumer.custom_id)
  end
  if consumer.username then
    set_header("X-Consumer-Username", consumer.username)
  end
end

-- Tells the upstream that nobody is known, under the name that the operator gave to nobody; on a cleared request.
function _M.set_anonymous(consumer)
  kong.service.request.set_header("X-Anonymous-Consumer", "true")
  _M.set_consumer(consumer)
end

return _M
