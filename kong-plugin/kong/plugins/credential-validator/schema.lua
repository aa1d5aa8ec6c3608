-- Law of this file: every field, its default and its bounds; no require, so that Konnect takes it as it stands.
-- Fields carry no description: Kong below 3.4 refuses a schema that has one. README.md describes them.

local find, match = string.find, string.match

-- A reference to no consumer: whom the request comes from is what this plugin finds out.
local NULL = ngx and ngx.null

local MAX_UNIX_PATH_BYTES = 107 -- sun_path of Linux holds 108 with its NUL

local function check_validator_url(url)
  local path = match(url, "^unix:(.*)$")
  if path then
    if find(path, "^/[^%s%c]+$") and #path <= MAX_UNIX_PATH_BYTES then
      return true
    end
    return nil, "the path of a Unix socket must be absolute, without spaces and at most " .. MAX_UNIX_PATH_BYTES
      .. " bytes, for example unix:/run/validator/data.sock"
  end
  if find(url, "^https:") then
    return nil, "TLS to the sidecar is not supported: use http:// on loopback or unix:/path"
  end
  local rest = match(url, "^http://(.-)/?$")
  local port = rest and (match(rest, "^[%w._-]+:(%d+)$") or match(rest, "^%[[%x:.]+%]:(%d+)$"))
  if port and #port <= 5 and tonumber(port) >= 1 and tonumber(port) <= 65535 then
    return true
  end
  return nil, "expected http://host:port or unix:/path, for example http://127.0.0.1:8100"
end

local function check_path_segment(value)
  if value == "." or value == ".." then
    return nil, "'.' and '..' cannot be a segment of a path"
  end
  if find(value, "%c") then
    return nil, "must not hold control characters"
  end
  return true
end

local function check_cookie_name(value)
  if find(value, "^[%w!#$%%&'*+.^_`|~-]+$") then
    return true
  end
  return nil, "a cookie's name is an RFC 6265 token, for example __Host-session"
end

local HTTP_PROTOCOLS = { "grpc", "grpcs", "http", "https" }

return {
  name = "credential-validator",
  fields = {
    { consumer = { type = "foreign", reference = "consumers", eq = NULL } },
    { protocols = {
      type = "set", required = true, default = HTTP_PROTOCOLS,
      elements = { type = "string", one_of = HTTP_PROTOCOLS },
    } },
    { config = {
      type = "record",
      fields = {
        { validator_url = {
          type = "string", required = true, referenceable = true, custom_validator = check_validator_url,
        } },
        { strategy = { type = "string", required = true, custom_validator = check_path_segment } },
        { service = { type = "string", custom_validator = check_path_segment } },
        { timeout_ms = { type = "integer", required = true, default = 3000, between = { 1, 60000 } } },
        { keepalive_pool_size = { type = "integer", required = true, default = 64, between = { 1, 10000 } } },
        { keepalive_idle_ms = { type = "integer", required = true, default = 30000, between = { 1, 3600000 } } },
        { hide_credentials = { type = "boolean", required = true, default = true } },
        { session_cookie_name = {
          type = "string", required = true, default = "__Host-session", custom_validator = check_cookie_name,
        } },
        { anonymous = { type = "string" } },
        { decision_cache_ttl_s = { type = "number", required = true, default = 0, between = { 0, 3600 } } },
      },
    } },
  },
}
