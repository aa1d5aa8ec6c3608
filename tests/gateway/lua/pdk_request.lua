-- Law of this file: kong.request and kong.service.request: what came, and what goes upstream.

local headers = require "pdk_headers"
local phases = require "pdk_phases"

local check_phase, normalize = phases.check, headers.normalize
local char, error, find, gsub, insert = string.char, error, string.find, string.gsub, table.insert
local lower, sub, tonumber, type, upper = string.lower, string.sub, tonumber, type, string.upper

local IN_REQUEST, BEFORE_UPSTREAM = phases.request, phases.before_upstream
local SETTABLE = BEFORE_UPSTREAM + phases.balancer
local MAX_HEADERS = 1000
local RESERVED = "[!*'();:@&=+$,/?%%#%[%]]" -- stay encoded when a path is normalized

local function unescape(hex)
  local decoded = char(tonumber(hex, 16))
  return find(decoded, RESERVED) and "%" .. upper(hex) or decoded
end

-- Decoded, without dot segments and repeated slashes.
local function normalized(path)
  path = gsub(path, "%%(%x%x)", unescape)
  local kept = {}
  for segment in path:gmatch("[^/]+") do
    if segment == ".." then
      kept[#kept] = nil
    elseif segment ~= "." then
      kept[#kept + 1] = segment
    end
  end
  local ends = find(path, "/%.?%.?$") and kept[1] and "/" or ""
  return "/" .. table.concat(kept, "/") .. ends
end

local function request()
  local _M = {}

  function _M.get_method()
    check_phase(IN_REQUEST)
    return ngx.req.get_method()
  end

  -- 1, 1.1 or 2.
  function _M.get_http_version()
    check_phase(IN_REQUEST)
    return ngx.req.http_version()
  end

  function _M.get_raw_path()
    check_phase(IN_REQUEST)
    local uri = ngx.var.request_uri or ""
    local query = find(uri, "?", 2, true)
    return query and sub(uri, 1, query - 1) or uri
  end

  function _M.get_path()
    return normalized(_M.get_raw_path())
  end

  function _M.get_query()
    check_phase(IN_REQUEST)
    return ngx.req.get_uri_args()
  end

  -- Names are in lower case; a header that came more than once is a table of its values. At most 100 lines, unless
  -- told otherwise.
  function _M.get_headers(max_headers)
    check_phase(IN_REQUEST)
    if max_headers == nil then
      return ngx.req.get_headers()
    end
    if type(max_headers) ~= "number" then
      error("max_headers must be a number", 2)
    elseif max_headers < 1 then
      error("max_headers must be >= 1", 2)
    elseif max_headers > MAX_HEADERS then
      error("max_headers must be <= " .. MAX_HEADERS, 2)
    end
    return ngx.req.get_headers(max_headers)
  end

  -- Of a repeated header the first value. A variable of nginx answers, as in Kong: hyphens and underscores in the
  -- name that the client sent are all the same to it.
  function _M.get_header(name)
    check_phase(IN_REQUEST)
    if type(name) ~= "string" then
      error("header name must be a string", 2)
    end
    local value = ngx.var["http_" .. gsub(lower(name), "-", "_")]
    if not value or not find(value, ", ", 1, true) then
      return value
    end
    local all = ngx.req.get_headers()[name]
    return type(all) == "table" and all[1] or all
  end

  return _M
end

local function service_request(version_num)
  local check_header = headers.checker(version_num)
  local _M = {}

  function _M.set_header(name, value)
    check_phase(SETTABLE)
    check_header(name, value)
    local lowered = lower(name)
    if lowered == "host" then
      ngx.var.upstream_host = value
    elseif lowered == ":authority" then
      return nil, "cannot set :authority pseudo-header on non-grpc requests"
    end
    ngx.req.set_header(name, normalize(value))
  end

  function _M.add_header(name, value)
    check_phase(BEFORE_UPSTREAM)
    check_header(name, value)
    local values = ngx.req.get_headers()[name]
    if type(values) ~= "table" then
      values = { values }
    end
    insert(values, normalize(value))
    ngx.req.set_header(name, values)
  end

  function _M.clear_header(name)
    check_phase(BEFORE_UPSTREAM)
    if type(name) ~= "string" then
      error("header must be a string", 2)
    end
    ngx.req.clear_header(name)
  end

  return _M
end

return { request = request, service_request = service_request }
