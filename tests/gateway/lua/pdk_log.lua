-- Law of this file: kong.log: lines of the error log, and what Kong's logging plugins are given of a request.

local phases = require "pdk_phases"

local check_phase = phases.check
local byte, concat, error, ipairs, pairs = string.byte, table.concat, error, ipairs, pairs
local select, setmetatable, sub, tostring, type = select, setmetatable, string.sub, tostring, type

local DOT = byte "."
local MODES = { set = true, add = true, replace = true }
local WITH_CTX = phases.before_upstream + phases.header_filter + phases.response + phases.body_filter + phases.log
local LEVELS = {
  debug = ngx.DEBUG, info = ngx.INFO, notice = ngx.NOTICE, warn = ngx.WARN, err = ngx.ERR, crit = ngx.CRIT,
  alert = ngx.ALERT, emerg = ngx.EMERG,
}
local SOURCE_SINCE = 3006000
local SOURCES = { error = "kong", exit = "kong", service = "upstream" }
local NULL_SINCE = 3008000 -- until then ngx.null was no value that can be serialized

local function is_plain(value, null_too, visited)
  local kind = type(value)
  if value == nil or kind == "number" or kind == "string" or kind == "boolean" or null_too and value == ngx.null then
    return true
  elseif kind ~= "table" or visited[value] then
    return false
  end
  visited[value] = true
  for name, member in pairs(value) do
    local named = type(name)
    if named ~= "string" and named ~= "number" and named ~= "boolean" or not is_plain(member, null_too, visited) then
      return false
    end
  end
  return true
end

-- The table that the last part of a dotted key is a member of, and that part.
local function walk(root, item)
  local key, node, start = item.key, root, 1
  for at = 2, #key do
    if byte(key, at) == DOT then
      local part = sub(key, start, at - 1)
      start = at + 1
      if node[part] == nil then
        if item.mode == "replace" then
          return nil
        end
        node[part] = {}
      elseif type(node[part]) ~= "table" then
        error("The key '" .. key .. "' could not be used as a serialize value. Subkey '" .. part
          .. "' is not a table. It's " .. tostring(node[part]), 0)
      end
      node = node[part]
    end
  end
  return node, sub(key, start)
end

local function apply(root, items, null_too)
  for _, item in ipairs(items) do
    if not is_plain(item.value, null_too, {}) then
      error("value must be nil, a number, string, boolean or a non-self-referencial table containing numbers, "
        .. "string and booleans", 0)
    end
    local node, last = walk(root, item)
    if node and (item.mode == "set" or (item.mode == "add") == (node[last] == nil)) then
      node[last] = item.value
    end
  end
end

-- The credential's own consumer is the only one told: Kong looks for the other under a name that it never sets.
local function entity(credential)
  return credential and { id = credential.id, consumer_id = credential.consumer_id }
end

local function redact(headers)
  for _, name in ipairs { "authorization", "proxy-authorization" } do
    headers[name] = headers[name] and "REDACTED"
  end
  return headers
end

return function(version_num)
  local _M = {}
  for name, level in pairs(LEVELS) do
    _M[name] = function(...)
      local parts = { ... }
      for at = 1, select("#", ...) do
        parts[at] = tostring(parts[at])
      end
      ngx.log(level, "[credential-validator] ", concat(parts))
    end
  end

  -- Only keys and modes are checked here; the values, and where they go, in the log phase.
  function _M.set_serialize_value(key, value, options)
    check_phase(WITH_CTX)
    if type(key) ~= "string" then
      error("key must be a string", 2)
    end
    local mode = options and options.mode or "set"
    if not MODES[mode] then
      error("mode must be 'set', 'add' or 'replace'", 2)
    end
    local ctx = ngx.ctx
    local items = ctx.serialize_values or {}
    items[#items + 1] = { key = key, value = value, mode = mode }
    ctx.serialize_values = items
  end

  function _M.serialize()
    check_phase(phases.log)
    local ctx = ngx.ctx
    local root = {
      request = {
        method = ngx.req.get_method(), uri = ngx.var.request_uri, headers = redact(ngx.req.get_headers()),
      },
      response = { status = ngx.status, headers = ngx.resp.get_headers() },
      upstream_status = ngx.var.upstream_status or "",
      authenticated_entity = entity(ctx.authenticated_credential),
      consumer = ctx.authenticated_consumer,
      route = ctx.route and { id = ctx.route.id },
      service = ctx.service and { name = ctx.service.name },
      source = version_num >= SOURCE_SINCE and SOURCES[kong.response.get_source()] or nil,
    }
    apply(root, ctx.serialize_values or {}, version_num >= NULL_SINCE)
    return root
  end

  return setmetatable(_M, { __call = function(_, ...)
    return _M.notice(...)
  end })
end
