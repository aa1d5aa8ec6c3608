-- Law of this file: every field, its default and its bounds, in declarations alone: no require, so that Konnect takes
-- it as it stands, and no function as validator, so that it can be streamed.

local string_rep = string.rep

-- A reference to no consumer: whom the request comes from is what this plugin finds out. A streamed schema sees no
-- null.
local NULL = ngx and ngx.null

local MAX_UNIX_PATH_BYTES = 107 -- sun_path of Linux holds 108 with its NUL
local MAX_TIMEOUT_MS = 60000

-- Kong below 3.4 refuses a schema whose fields are described.
local DESCRIBED = not (kong and kong.version_num and kong.version_num < 3004000)

local function described(text, field)
  field.description = DESCRIBED and text or nil
  return field
end

-- 1 to 65535, in Lua's patterns.
local PORTS = {
  "[1-9]", "[1-9]%d", "[1-9]%d%d", "[1-9]%d%d%d", "[1-5]%d%d%d%d", "6[0-4]%d%d%d", "65[0-4]%d%d", "655[0-2]%d",
  "6553[0-5]",
}

local URLS = { "^unix:/[^%s%c]+$" }
for _, host in ipairs { "[%w._-]+", "%[[%x:.]+%]" } do
  for _, port in ipairs(PORTS) do
    URLS[#URLS + 1] = "^https?://" .. host .. ":" .. port .. "/?$"
  end
end

local function url(field)
  field.type, field.len_max = "string", 1024
  field.match_any = {
    patterns = URLS,
    err = "expected http://host:port, https://host:port or unix:/path, for example http://127.0.0.1:8100",
  }
  field.match_none = { {
    pattern = "^unix:" .. string_rep("[^%c]", MAX_UNIX_PATH_BYTES + 1),
    err = "the path of a Unix socket has at most " .. MAX_UNIX_PATH_BYTES .. " bytes",
  } }
  return field
end

-- A segment of a path.
local function segment(field, more)
  field.type, field.len_max = "string", 256
  field.match_none = {
    { pattern = "^%.%.?$", err = "'.' and '..' cannot be a segment of a path" },
    { pattern = "%c", err = "must not hold control characters" },
    more,
  }
  return field
end

local COMMA = { pattern = ",", err = "one strategy; others belong into additional_strategies" }

local function milliseconds(field)
  field.type, field.between = "integer", { 1, MAX_TIMEOUT_MS }
  return field
end

-- What the sidecar's answers and Kong itself need, or what is no header of one request.
local NO_UPSTREAM_HEADER = "this header has a meaning of its own and cannot carry a claim"
local function header_name()
  local reserved = {}
  for at, name in ipairs {
    "x%-application%-id", "x%-application%-name", "x%-application%-groups", "x%-credential%-identifier",
    "x%-auth%-method", "x%-session%-id", "x%-access%-token",
    "x%-consumer%-.*", "x%-anonymous%-consumer", "x%-authenticated%-groups", "host", "authorization", "cookie",
    "set%-cookie", "content%-.*", "connection", "keep%-alive", "te", "trailer", "transfer%-encoding", "upgrade",
    "proxy%-.*", "cache%-control", "www%-authenticate", "retry%-after", "date", "expect",
  } do
    -- Whatever its case: Lua's patterns know no other way.
    local pattern = name:gsub("(%%?)(%a)", function(escape, letter)
      return escape == "" and "[" .. letter:upper() .. letter .. "]" or nil
    end)
    reserved[at] = { pattern = "^" .. pattern .. "$", err = NO_UPSTREAM_HEADER }
  end
  return {
    type = "string",
    len_max = 64,
    match_all = { { pattern = "^%w[%w-]*$", err = "a header's name has letters, digits and hyphens" } },
    match_none = reserved,
  }
end

local HTTP_PROTOCOLS = { "grpc", "grpcs", "http", "https" }

return {
  name = "credential-validator",
  fields = {
    { consumer = { type = "foreign", reference = "consumers", eq = NULL } },
    { protocols = {
      type = "set", required = true, default = HTTP_PROTOCOLS,
      elements = { type = "string", one_of = { "grpc", "grpcs", "http", "https", "ws", "wss" } },
    } },
    { config = {
      type = "record",
      required = true,
      fields = {
        { validator_url = described("Where the sidecar's data plane listens: http://host:port, https://host:port or "
          .. "unix:/path. Off the machine it should be https, since credentials travel to it.",
          url { required = true, referenceable = true }) },
        { fallback_validator_urls = described("Further sidecars, asked in this order when those before them give no "
          .. "decision. One that failed is passed over for 1 to 10 s.",
          { type = "array", len_max = 8, elements = url {} }) },
        { strategy = described("The application auth strategy that judges, by its name in the sidecar.",
          segment({ required = true }, COMMA)) },
        { additional_strategies = described("Further strategies for the same route. A credential is judged under the "
          .. "first one whose own it says to be.",
          { type = "array", len_max = 7, elements = segment({}, COMMA) }) },
        { service = described("The service that the application must be registered for; by default the name of the "
          .. "matched Gateway Service.", segment {}) },
        { timeout_ms = described("The longest that one request waits for sidecars, retry and fallbacks included; with "
          .. "the decision cache on, at most 4 s.",
          milliseconds { required = true, default = 3000 }) },
        { connect_timeout_ms = described("The longest for connecting to one sidecar, within timeout_ms.",
          milliseconds {}) },
        { send_timeout_ms = described("The longest for sending to one sidecar, within timeout_ms.", milliseconds {}) },
        { read_timeout_ms = described("The longest for the answer of one sidecar, within timeout_ms.",
          milliseconds {}) },
        { keepalive_pool_size = described("Idle connections to a sidecar that each worker keeps.",
          { type = "integer", required = true, default = 64, between = { 1, 10000 } }) },
        { keepalive_idle_ms = described("How long an idle connection to a sidecar is kept.",
          { type = "integer", required = true, default = 30000, between = { 1, 3600000 } }) },
        { tls_verify = described("Whether the certificate of an https sidecar is verified, against Kong's "
          .. "lua_ssl_trusted_certificate.", { type = "boolean", required = true, default = true }) },
        { tls_server_name = described("The name that an https sidecar's certificate must have; by default the host of "
          .. "its URL.", {
          type = "string", len_max = 253,
          match_all = { { pattern = "^[%w._:-]+$", err = "expected a host's name" } },
        }) },
        { tls_client_certificate = described("The certificate chain (PEM) that Kong shows to an https sidecar. Not in "
          .. "a streamed plugin.", { type = "string", referenceable = true }) },
        { tls_client_key = described("The private key (PEM) of tls_client_certificate.",
          { type = "string", referenceable = true, encrypted = true }) },
        { hide_credentials = described("Whether Authorization and the session cookie, and no other cookie, are removed "
          .. "before the request goes upstream.", { type = "boolean", required = true, default = true }) },
        { session_cookie_name = described("The name of the session cookie: session.cookie_name of the sidecar.", {
          type = "string", required = true, default = "__Host-session", len_max = 128,
          match_all = { {
            pattern = "^[%w!#$%%&'*+.^_`|~-]+$",
            err = "a cookie's name is an RFC 6265 token, for example __Host-session",
          } },
        }) },
        { forward_minted_token = described("Whether a request with a client id and secret reaches the upstream with "
          .. "the access token that the identity provider minted for them. The strategy has to set it as well.",
          { type = "boolean", required = true, default = false }) },
        { upstream_headers = described("Headers that carry the token's claims to the upstream, as the strategy's "
          .. "upstream_headers name them. What clients send under these names is removed.",
          { type = "array", len_max = 16, elements = header_name() }) },
        { anonymous = described("Id or username of a consumer: a request that would get 401 goes upstream as that "
          .. "consumer. 403, 429 and 503 stay what they are.", { type = "string" }) },
        { consumer_by = described("Which field of Kong's consumers names the application; without it no consumer is "
          .. "looked for.", { type = "string", one_of = { "custom_id", "username" } }) },
        { consumer_value = described("What stands in that field: the application's id or its client id.", {
          type = "string", required = true, default = "application_id",
          one_of = { "application_id", "credential_identifier" },
        }) },
        { consumer_optional = described("Whether an application without a consumer passes; otherwise it gets 403.",
          { type = "boolean", required = true, default = false }) },
        { realm = described("The realm in WWW-Authenticate; by default the strategy's name.", {
          type = "string", len_max = 128,
          match_all = { { pattern = '^[^%c"\\]+$', err = "a realm has no quotes, backslashes or control characters" } },
        }) },
        { run_on_preflight = described("Whether OPTIONS requests are judged; false lets them pass unasked.",
          { type = "boolean", required = true, default = true }) },
        { decision_cache_ttl_s = described("How long Kong itself reuses an answer, at most for the sidecar's max-age. "
          .. "A revoked credential or application can still pass on this node for that long. With 0 every request is "
          .. "asked about, and a revocation holds at once.",
          { type = "number", required = true, default = 0, between = { 0, 3600 } }) },
      },
    } },
  },
  entity_checks = {
    { mutually_required = { "config.tls_client_certificate", "config.tls_client_key" } },
  },
}
