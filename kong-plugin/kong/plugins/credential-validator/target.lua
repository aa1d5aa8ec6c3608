-- Law of this file: where a sidecar is and what is asked of it, as text; pure, without ngx and kong.

local byte, concat, find, format, gsub = string.byte, table.concat, string.find, string.format, string.gsub
local ipairs, match, tonumber, unpack = ipairs, string.match, tonumber, unpack

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

-- The segment that names one strategy or several, in their order; or nil and why.
function _M.strategies(first, others)
  local segments, seen = {}, {}
  for _, name in ipairs { first, unpack(others or {}) } do
    local segment, err = _M.encode(name)
    if not segment then
      return nil, "strategy: " .. err
    end
    if not seen[segment] then -- the sidecar takes none twice
      seen[segment] = true
      segments[#segments + 1] = segment
    end
  end
  return concat(segments, ",")
end

-- Where /v1/authorize judges a request for the service; or nil and why.
function _M.path(strategies, service)
  local segment, err = _M.encode(service)
  if not segment then
    return nil, "service: " .. err
  end
  return "/v1/authorize/" .. strategies .. "/" .. segment
end

-- A validator_url as { url, host, port, host_header, pool, tls }; port is nil for a Unix socket, tls is the host's
-- name where the connection is to be encrypted. Or nil and why.
function _M.parse(url)
  if find(url, "^unix:/[^%s%c]+$") then
    return { url = url, host = url, host_header = "localhost", pool = POOL_PREFIX .. url }
  end
  local scheme, authority = match(url, "^(https?)://(.-)/?$")
  local host, port
  if authority then
    host, port = match(authority, "^([%w._-]+):(%d+)$")
    if not host then
      host, port = match(authority, "^(%[[%x:.]+%]):(%d+)$")
    end
  end
  port = port and #port <= 5 and tonumber(port)
  if not port or port < 1 or port > MAX_PORT then
    return nil, "'" .. url .. "' is none of http://host:port, https://host:port and unix:/path"
  end
  return {
    url = url,
    host = host,
    port = port,
    host_header = authority,
    pool = POOL_PREFIX .. url,
    tls = scheme == "https" and gsub(host, "^%[(.*)%]$", "%1") or nil,
  }
end

return _M
