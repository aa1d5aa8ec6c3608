-- Law of this file: where the sidecar is and what is asked of it, as text; pure, without ngx and kong.

local byte, find, format, gsub, match = string.byte, string.find, string.format, string.gsub, string.match
local tonumber = tonumber

local MAX_PORT = 65535
local POOL_PREFIX = "credential-validator:" -- so that no other user of the same address shares our connections

local _M = {}

local function percent(char)
  return format("%%%02X", byte(char))
end

-- One segment of a path (RFC 3986 section 3.3): everything but the unreserved characters is encoded.
-- Returns nil and why where no segment can carry the value.
function _M.encode(value)
  if value == "" or value == "." or value == ".." then
    return nil, "no path segment can be '" .. value .. "'"
  end
  return (gsub(value, "[^%w._~-]", percent))
end

-- Where /v1/authorize judges a request for the service under the strategy; or nil and why.
function _M.path(strategy, service)
  local encoded_strategy, strategy_err = _M.encode(strategy)
  if not encoded_strategy then
    return nil, "strategy: " .. strategy_err
  end
  local encoded_service, service_err = _M.encode(service)
  if not encoded_service then
    return nil, "service: " .. service_err
  end
  return "/v1/authorize/" .. encoded_strategy .. "/" .. encoded_service
end

-- `http://host:port` or `unix:/path` as { host, port, host_header, pool }; port is nil for a Unix socket.
function _M.parse(url)
  if find(url, "^unix:/[^%s%c]+$") then
    return { host = url, host_header = "localhost", pool = POOL_PREFIX .. url }
  end
  local authority = match(url, "^http://(.-)/?$")
  local host, port
  if authority then
    host, port = match(authority, "^([%w._-]+):(%d+)$")
    if not host then
      host, port = match(authority, "^(%[[%x:.]+%]):(%d+)$")
    end
  end
  port = port and #port <= 5 and tonumber(port)
  if not port or port < 1 or port > MAX_PORT then
    return nil, "validator_url is neither http://host:port nor unix:/path"
  end
  return { host = host, port = port, host_header = authority, pool = POOL_PREFIX .. authority }
end

return _M
