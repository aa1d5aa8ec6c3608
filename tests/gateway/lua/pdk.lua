-- Law of this file: as much of Kong's plugin development kit (3.x) as an authentication plugin uses, with Kong's own
-- rules about phases, arguments and headers. It stands in for Kong where Kong cannot run; it is no Kong.

local new_cache = require "pdk_cache"

local band = require("bit").band
local concat, lower = table.concat, string.lower
local error, ipairs, pairs, setmetatable, tostring, type = error, ipairs, pairs, setmetatable, tostring, type

local MAX_HEADERS_DEFAULT = 100
local MAX_HEADERS = 1000
local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"

-- What ngx.ctx.KONG_PHASE holds; Kong compares bits as well, which costs a request far less than names would.
local PHASES = { rewrite = 0x10, access = 0x20, header_filter = 0x200, body_filter = 0x400, log = 0x2000 }
local IN_ACCESS = PHASES.rewrite + PHASES.access
local BEFORE_BODY = IN_ACCESS + PHASES.header_filter
local IN_REQUEST = BEFORE_BODY + PHASES.body_filter + PHASES.log

local function check_phase(accepted)
  local phase = ngx.ctx.KONG_PHASE
  if not phase then
    error("no phase in ngx.ctx.KONG_PHASE", 3)
  end
  if band(phase, accepted) == 0 then
    error("function cannot be called in " .. ngx.get_phase() .. " phase", 3)
  end
end

local function check_header(name, value)
  if type(name) ~= "string" then
    error("header must be a string", 3)
  end
  if type(value) ~= "string" and type(value) ~= "number" and type(value) ~= "boolean" then
    error("invalid header value for '" .. name .. "': got " .. type(value) .. ", expected string, number, boolean", 3)
  end
end

local function set_response_header(name, value)
  if type(value) == "table" and name:lower() == "www-authenticate" then
    value = value[#value] -- nginx has one place for it: the last wins
  end
  ngx.header[name] = value
end

local function request()
  local _M = {}

  function _M.get_method()
    check_phase(IN_REQUEST)
    return ngx.req.get_method()
  end

  function _M.get_path()
    check_phase(IN_REQUEST)
    return (ngx.var.request_uri:match("^[^?]*"))
  end

  -- Names are in lower case; a header that came more than once is a table of its values.
  function _M.get_headers(max_headers)
    check_phase(IN_REQUEST)
    max_headers = max_headers or MAX_HEADERS_DEFAULT
    if type(max_headers) ~= "number" or max_headers < 1 or max_headers > MAX_HEADERS then
      error("max_headers must be a number between 1 and " .. MAX_HEADERS, 2)
    end
    return ngx.req.get_headers(max_headers)
  end

  -- Of a repeated header the first value; hyphens may be asked for as underscores.
  function _M.get_header(name)
    check_phase(IN_REQUEST)
    if type(name) ~= "string" then
      error("header name must be a string", 2)
    end
    local value = _M.get_headers()[name]
    if type(value) == "table" then
      return value[1]
    end
    return value
  end

  return _M
end

local function service_request()
  local _M = {}

  function _M.set_header(name, value)
    check_phase(IN_ACCESS)
    check_header(name, value)
    local lowered = lower(name)
    if lowered == "host" or lowered == ":authority" then
      error("this stand-in sets no " .. name, 2)
    end
    if value == "" then
      value = " " -- nginx would drop the header
    end
    ngx.req.set_header(name, type(value) == "string" and value or tostring(value))
  end

  function _M.clear_header(name)
    check_phase(IN_ACCESS)
    if type(name) ~= "string" then
      error("header must be a string", 2)
    end
    ngx.req.clear_header(name)
  end

  return _M
end

local function response()
  local _M = {}

  function _M.set_header(name, value)
    check_phase(BEFORE_BODY)
    if type(value) ~= "table" then
      check_header(name, value)
    end
    set_response_header(name, value)
  end

  function _M.add_header(name, value)
    check_phase(BEFORE_BODY)
    check_header(name, value)
    local values = ngx.header[name]
    if values == nil then
      values = {}
    elseif type(values) ~= "table" then
      values = { values }
    end
    values[#values + 1] = value
    ngx.header[name] = values
  end

  function _M.exit(status, body, headers)
    check_phase(IN_ACCESS)
    if type(status) ~= "number" or status < 100 or status > 599 then
      error("code must be a number between 100 and 599", 2)
    end
    if body ~= nil and type(body) ~= "string" then
      error("this stand-in sends strings only", 2)
    end
    ngx.status = status
    for name, value in pairs(headers or {}) do
      set_response_header(name, value)
    end
    ngx.header["Content-Length"] = #(body or "")
    if body then
      ngx.print(body)
    end
    return ngx.exit(status)
  end

  return _M
end

local function client(consumers)
  local _M = {}

  function _M.authenticate(consumer, credential)
    check_phase(IN_ACCESS)
    if consumer ~= nil and type(consumer) ~= "table" then
      error("consumer must be a table or nil", 2)
    end
    if credential ~= nil and type(credential) ~= "table" then
      error("credential must be a table or nil", 2)
    end
    if consumer == nil and credential == nil then
      error("either credential or consumer must be provided", 2)
    end
    local request_ctx = ngx.ctx
    request_ctx.authenticated_consumer = consumer
    request_ctx.authenticated_credential = credential
  end

  function _M.get_credential()
    check_phase(IN_REQUEST)
    return ngx.ctx.authenticated_credential
  end

  function _M.get_consumer()
    check_phase(IN_REQUEST)
    return ngx.ctx.authenticated_consumer
  end

  function _M.load_consumer(id, search_by_username)
    if type(id) ~= "string" then
      error("consumer_id must be a string", 2)
    end
    if not id:find(UUID) and not search_by_username then
      error("cannot load a consumer with an id that is not a uuid", 2)
    end
    for _, consumer in ipairs(consumers) do
      if consumer.id == id or search_by_username and consumer.username == id then
        return consumer
      end
    end
    return nil
  end

  return _M
end

local function log()
  local _M = {}
  local levels = {
    debug = ngx.DEBUG, info = ngx.INFO, notice = ngx.NOTICE, warn = ngx.WARN, err = ngx.ERR, crit = ngx.CRIT,
  }
  for name, level in pairs(levels) do
    _M[name] = function(...)
      local parts = { ... }
      for i = 1, select("#", ...) do
        parts[i] = tostring(parts[i])
      end
      ngx.log(level, "[credential-validator] ", concat(parts))
    end
  end
  return _M
end

local CTX_KEYS = { shared = {}, plugin = {} }

-- kong.ctx.shared is one table for a request; kong.ctx.plugin one for a request and a plugin.
local function ctx()
  return setmetatable({}, {
    __index = function(_, name)
      if not CTX_KEYS[name] then
        error("kong.ctx has no '" .. tostring(name) .. "'", 2)
      end
      local request_ctx = ngx.ctx
      local key = CTX_KEYS[name]
      local found = request_ctx[key]
      if not found then
        found = {}
        request_ctx[key] = found
      end
      return found
    end,
  })
end

local function router()
  return {
    get_service = function()
      check_phase(IN_REQUEST)
      return ngx.ctx.service
    end,
    get_route = function()
      check_phase(IN_REQUEST)
      return ngx.ctx.route
    end,
  }
end

local _M = { PHASES = PHASES }

-- Makes the global `kong` of one gateway. `dict` names a shared dictionary.
function _M.new(consumers, dict)
  return {
    version = "3.9.1",
    request = request(),
    service = { request = service_request() },
    response = response(),
    client = client(consumers),
    router = router(),
    cache = new_cache(dict),
    ctx = ctx(),
    log = log(),
    db = { consumers = {
      cache_key = function(_, id)
        return "consumers:" .. id .. ":::::"
      end,
    } },
  }
end

return _M
