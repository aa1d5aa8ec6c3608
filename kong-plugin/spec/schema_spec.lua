-- Promise: the schema stands alone, works from Kong 3.0 on, and tells an operator what is wrong.

local kong_schema = require "spec.kong_schema"

local PATH = "kong/plugins/credential-validator/schema.lua"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- With Lua's own globals and those given, and none of them that a sandbox keeps back.
local function load_schema(globals)
  local env = { ipairs = ipairs, pairs = pairs, string = string, table = table, type = type }
  for name, value in pairs(globals or {}) do
    env[name] = value
  end
  return setfenv(assert(loadfile(PATH)), setmetatable(env, { __newindex = function(_, name)
    error("the schema sets the global " .. name)
  end }))()
end

local function kong_of(version_num)
  return { kong = { version_num = version_num }, ngx = { null = {} } }
end

local function walk(node, visit)
  for key, value in pairs(node) do
    visit(key, value)
    if type(value) == "table" then
      walk(value, visit)
    end
  end
end

local schema = load_schema()
local fields, names = kong_schema.config_fields(schema)

local function check(name, value)
  return kong_schema.checker(schema, name)(value)
end

local function takes(name, value)
  local good, why = check(name, value)
  assert.is_true(good, name .. ": " .. tostring(why))
end

local function refuses(name, value)
  local good, why = check(name, value)
  assert.is_nil(good, ("%s takes %q"):format(name, tostring(value)))
  assert.is_string(why)
end

describe("the schema", function()
  it("requires nothing, not even by another name", function()
    assert.equal("credential-validator", schema.name)
    assert.is_nil(read(PATH):find("require%s*[%(\"']"))
  end)

  it("holds no function, as a streamed plugin may have none", function()
    for _, given in ipairs { {}, kong_of(3003001), kong_of(3004000), kong_of(30010000) } do
      walk(load_schema(given), function(key, value)
        assert.are_not.equal("function", type(value), key)
      end)
    end
  end)

  it("uses Kong's null where there is one", function()
    local given = kong_of(3009001)
    assert.equal(given.ngx.null, load_schema(given).fields[1].consumer.eq)
    assert.is_nil(schema.fields[1].consumer.eq)
  end)

  it("describes nothing below Kong 3.4, which would refuse that", function()
    for _, version_num in ipairs { 3000000, 3003001, 3003999 } do
      walk(load_schema(kong_of(version_num)), function(key)
        assert.are_not.equal("description", key)
      end)
    end
  end)

  it("describes every field from 3.4 on and where no version is known", function()
    for _, given in ipairs { kong_of(3004000), kong_of(3009001), kong_of(30010000), { kong = {} }, {} } do
      local all, in_order = kong_schema.config_fields(load_schema(given))
      for _, name in ipairs(in_order) do
        assert.is_string(all[name].description, name)
        assert.is_true(#all[name].description >= 10 and #all[name].description <= 500, name)
      end
    end
  end)

  it("is the same for every version but for the descriptions", function()
    local newest = load_schema(kong_of(30010000))
    walk(newest, function(_, value)
      if type(value) == "table" then
        value.description = nil
      end
    end)
    local oldest = load_schema(kong_of(3000000))
    newest.fields[1].consumer.eq, oldest.fields[1].consumer.eq = nil, nil
    assert.same(oldest, newest)
  end)

  it("declares only what Kong knows", function()
    local sample = { array = {}, boolean = true, integer = 1, number = 1, string = "x" }
    for _, name in ipairs(names) do
      check(name, sample[fields[name].type])
    end
  end)

  it("has the fields of the contract with their defaults", function()
    local defaults, required = {}, {}
    for name, field in pairs(fields) do
      defaults[name], required[name] = field.default, field.required
    end
    assert.same({
      timeout_ms = 3000, keepalive_pool_size = 64, keepalive_idle_ms = 30000, tls_verify = true,
      hide_credentials = true, session_cookie_name = "__Host-session", forward_minted_token = false,
      consumer_value = "application_id", consumer_optional = false, run_on_preflight = true, decision_cache_ttl_s = 0,
    }, defaults)
    assert.is_true(required.validator_url)
    assert.is_true(required.strategy)
    for name in pairs(defaults) do
      assert.is_true(required[name], name) -- a null would have no default
      takes(name, defaults[name])
    end
    for _, name in ipairs {
      "service", "anonymous", "realm", "consumer_by", "upstream_headers", "tls_server_name", "additional_strategies",
      "fallback_validator_urls", "connect_timeout_ms", "send_timeout_ms", "read_timeout_ms", "tls_client_certificate",
      "tls_client_key",
    } do
      assert.is_nil(required[name], name)
    end
    assert.equal(26, #names)
  end)

  it("keeps secrets out of sight, and takes the key only with its certificate", function()
    assert.is_true(fields.validator_url.referenceable)
    assert.is_true(fields.tls_client_certificate.referenceable)
    assert.is_true(fields.tls_client_key.referenceable)
    assert.is_true(fields.tls_client_key.encrypted)
    assert.same({ { mutually_required = { "config.tls_client_certificate", "config.tls_client_key" } } },
      schema.entity_checks)
  end)

  it("is for HTTP alone, unless an operator says WebSocket", function()
    local protocols = schema.fields[2].protocols
    assert.same({ "grpc", "grpcs", "http", "https" }, protocols.default)
    assert.same({ "grpc", "grpcs", "http", "https", "ws", "wss" }, protocols.elements.one_of)
  end)
end)

describe("a value", function()
  it("has bounds, and they are in", function()
    for name, bounds in pairs {
      timeout_ms = { 1, 60000 }, connect_timeout_ms = { 1, 60000 }, send_timeout_ms = { 1, 60000 },
      read_timeout_ms = { 1, 60000 }, keepalive_pool_size = { 1, 10000 }, keepalive_idle_ms = { 1, 3600000 },
      decision_cache_ttl_s = { 0, 3600 },
    } do
      takes(name, bounds[1])
      takes(name, bounds[2])
      refuses(name, bounds[1] - 1)
      refuses(name, bounds[2] + 1)
      refuses(name, tostring(bounds[1]))
    end
    refuses("timeout_ms", 1.5)
    takes("decision_cache_ttl_s", 0.5)
  end)

  for _, name in ipairs { "validator_url", "fallback_validator_urls" } do
    local function of(url)
      return name == "validator_url" and url or { "http://ok:1", url }
    end

    it("of " .. name .. " has a port of 1 to 65535", function()
      for _, host in ipairs { "x", "127.0.0.1", "[::1]", "validator-1.svc_a" } do
        for _, scheme in ipairs { "http", "https" } do
          for _, port in ipairs { "1", "80", "8100", "59999", "64999", "65499", "65529", "65535" } do
            takes(name, of(scheme .. "://" .. host .. ":" .. port))
            takes(name, of(scheme .. "://" .. host .. ":" .. port .. "/"))
          end
          for _, port in ipairs { "0", "00", "65536", "65540", "65600", "66000", "70000", "100000", "", "-1", "8x" } do
            refuses(name, of(scheme .. "://" .. host .. ":" .. port))
          end
        end
      end
    end)

    it("of " .. name .. " has a path of at most 107 bytes to a Unix socket", function()
      takes(name, of("unix:/" .. ("p"):rep(106)))
      refuses(name, of("unix:/" .. ("p"):rep(107)))
      refuses(name, of("unix:/" .. ("p"):rep(900)))
      refuses(name, of("unix:/" .. ("é"):rep(54)))
      refuses(name, of("unix:" .. "relative"))
    end)

    it("of " .. name .. " is one line without anything before or after", function()
      for _, url in ipairs {
        "http://x:80\n", "\nhttp://x:80", "http://x:80\r\nHost: y", "unix:/a\n", "unix:/a b", "http://x:80/\0",
        "x http://x:80", "http://x:80 ",
      } do
        refuses(name, of(url))
      end
    end)
  end

  it("of a list is refused with one too many", function()
    local function list(count, value)
      local found = {}
      for at = 1, count do
        found[at] = value
      end
      return found
    end
    for name, case in pairs {
      fallback_validator_urls = { 8, "http://x:1" }, additional_strategies = { 7, "s" }, upstream_headers = { 16, "X" },
    } do
      takes(name, list(case[1], case[2]))
      refuses(name, list(case[1] + 1, case[2]))
    end
  end)

  it("of a strategy or a service can be a segment of a path", function()
    for _, value in ipairs { ".", "..", "a\nb", "\0", "a\127", "", ("s"):rep(257) } do
      refuses("strategy", value)
      refuses("service", value)
      refuses("additional_strategies", { "ok", value })
    end
    for _, value in ipairs { "azure v2", "...", "a/b", "é", ("s"):rep(256) } do
      takes("strategy", value)
      takes("service", value)
      takes("additional_strategies", { value })
    end
  end)

  it("of a strategy is one, and a service may have a comma", function()
    refuses("strategy", "azure,okta")
    refuses("additional_strategies", { "okta,plain" })
    takes("service", "a,b")
  end)

  it("of a cookie's name is a token", function()
    for _, value in ipairs { "a b", "a=b", "a;b", "a\n", "ä", "a,b", '"a"', "a/b", "" } do
      refuses("session_cookie_name", value)
    end
    takes("session_cookie_name", "__Host-session")
    takes("session_cookie_name", "!#$%&'*+.^_`|~-1")
  end)

  it("of a realm can stand in quotes", function()
    for _, value in ipairs { 'a"b', "a\\b", "a\nb", "a\rb", "\0", ("r"):rep(129) } do
      refuses("realm", value)
    end
    takes("realm", "Orders 100% (v2)")
  end)

  it("of a server's name is a host", function()
    for _, value in ipairs { "a b", "a/b", "a\n", "é", "*.x" } do
      refuses("tls_server_name", value)
    end
    takes("tls_server_name", "validator.example")
    takes("tls_server_name", "::1")
  end)

  it("of a consumer's field is one that Kong has", function()
    takes("consumer_by", "custom_id")
    takes("consumer_by", "username")
    refuses("consumer_by", "id")
    refuses("consumer_value", "application_name")
  end)

  it("of an upstream header is a name without a second spelling", function()
    for _, name in ipairs { "X-Claim-Tenant", "tenant", "X1", ("x"):rep(64) } do
      takes("upstream_headers", { name })
    end
    for _, name in ipairs {
      "X_Claim", "X Claim", "X-Claim:", "X.Claim", "X-Claim\r\n", "X-Cl\0aim", "é", "", ("x"):rep(65), "x/y",
    } do
      refuses("upstream_headers", { name })
    end
  end)

  for _, name in ipairs {
    "X-Application-Id", "X-Application-Name", "X-Application-Groups", "X-Credential-Identifier", "X-Auth-Method",
    "X-Session-Id", "X-Access-Token", "X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username",
    "X-Consumer-Groups", "X-Consumer-Whatever", "X-Anonymous-Consumer", "X-Authenticated-Groups", "Host",
    "Authorization", "Cookie", "Set-Cookie", "Content-Length", "Content-Type", "Content-Encoding", "Connection",
    "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Proxy-Authenticate",
    "Proxy-Connection", "Cache-Control", "WWW-Authenticate", "Retry-After",
  } do
    it("of an upstream header is never " .. name, function()
      local mixed = name:lower():gsub("%a", string.upper, 1)
      for _, spelled in ipairs { name, name:upper(), name:lower(), mixed } do
        refuses("upstream_headers", { spelled })
        refuses("upstream_headers", { "X-Claim", spelled })
      end
      takes("upstream_headers", { "Y-" .. name })
    end)
  end
end)
