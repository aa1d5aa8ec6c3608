-- Promise: what an operator or a Gateway Service is called stays inside its own segment of the path, and the schema
-- takes no address that the plugin cannot use.

local kong_schema = require "spec.kong_schema"
local target = require "kong.plugins.credential-validator.target"

local PATH = "kong/plugins/credential-validator/schema.lua"
local check_url = kong_schema.checker(dofile(PATH), "validator_url")

local function path(strategy, service)
  local segment, why = target.strategies(strategy)
  if not segment then
    return nil, why
  end
  return target.path(segment, service)
end

describe("a path", function()
  for service, encoded in pairs {
    orders = "orders", ["Orders-v1.2_x~"] = "Orders-v1.2_x~", ["a/b"] = "a%2Fb", ["a b"] = "a%20b", ["%2F"] = "%252F",
    ["é"] = "%C3%A9", ["?#&"] = "%3F%23%26", ["a\r\nb"] = "a%0D%0Ab", ["\0"] = "%00", ["..."] = "...",
  } do
    it("encodes " .. encoded, function()
      assert.equal("/v1/authorize/plain/" .. encoded, path("plain", service))
      assert.equal("/v1/authorize/" .. encoded .. "/orders", path(service, "orders"))
    end)
  end

  for _, segment in ipairs { "", ".", ".." } do
    it("cannot hold '" .. segment .. "'", function()
      local found, why = path("plain", segment)
      assert.is_nil(found)
      assert.matches("^service: ", why)
      found, why = path(segment, "orders")
      assert.is_nil(found)
      assert.matches("^strategy: ", why)
    end)
  end
end)

describe("the segment of the strategies", function()
  it("names them in their order, each within its own commas", function()
    assert.equal("azure", target.strategies("azure"))
    assert.equal("azure", target.strategies("azure", {}))
    assert.equal("azure,okta,a%2Cb%2Fc", target.strategies("azure", { "okta", "a,b/c" }))
    assert.are_not.equal(target.strategies("a", { "b" }), target.strategies("a,b"))
  end)

  it("is none where one of them cannot be in a path", function()
    for _, others in ipairs { { ".." }, { "okta", "" }, { "." } } do
      local segment, why = target.strategies("azure", others)
      assert.is_nil(segment)
      assert.matches("^strategy: ", why)
    end
  end)
end)

describe("an address", function()
  for url, parsed in pairs {
    ["http://127.0.0.1:8100"] = { "127.0.0.1", 8100, "127.0.0.1:8100" },
    ["http://validator.svc:8100/"] = { "validator.svc", 8100, "validator.svc:8100" },
    ["http://[::1]:8100"] = { "[::1]", 8100, "[::1]:8100" },
    ["http://x:1"] = { "x", 1, "x:1" },
    ["http://x:65535"] = { "x", 65535, "x:65535" },
    ["https://validator.svc:8443"] = { "validator.svc", 8443, "validator.svc:8443", "validator.svc" },
    ["https://[::1]:8443/"] = { "[::1]", 8443, "[::1]:8443", "::1" },
    ["unix:/run/validator/data.sock"] = { "unix:/run/validator/data.sock", nil, "localhost" },
  } do
    it("is " .. url, function()
      local got = assert(target.parse(url))
      assert.equal(url, got.url)
      assert.same(parsed, { got.host, got.port, got.host_header, got.tls })
      assert.is_true(check_url(url))
    end)
  end

  for _, url in ipairs {
    "", "127.0.0.1:8100", "http://127.0.0.1", "http://:8100", "http://x:0", "http://x:65536", "http://x:8100/path",
    "http://user@x:8100", "http://x y:8100", "http://x:8100\r\nHost: y", "unix:data.sock", "unix:/a b", "unix:",
    "ftp://x:21", "http://x:99999999999999999999", "https://x", "https://x:0", "http://x:8100?a", "http://x:8100#a",
    "http://x:8100//", "http://[::1:8100", "http://::1:8100", "http://[]:8100", "http://x:-1", "http://x:1e3",
    "http://x:0x50", "http://x: 80", "http://x:80\0", " http://x:80", "HTTP://x:80", "unix:/a\nb", "unix:/a\0b",
    "httpss://x:80", "http://x,y:80", "http://x:80,http://y:80", "http://x:", "http://é:80", "unix:/",
  } do
    it("is not " .. ("%q"):format(url), function()
      local found, parse_err = target.parse(url)
      assert.is_nil(found)
      assert.is_string(parse_err)
      local good, why = check_url(url)
      assert.is_nil(good)
      assert.is_string(why)
    end)
  end

  it("is never taken by the schema alone, at any port", function()
    for port = 0, 70000 do
      local url = "http://x:" .. port
      assert.equal(target.parse(url) ~= nil, check_url(url) == true, url)
    end
  end)

  it("has connections of its own", function()
    local pools = {}
    for _, url in ipairs { "http://a:1", "http://a:2", "https://a:1", "unix:/a:1", "http://b:1", "unix:/a" } do
      local pool = target.parse(url).pool
      assert.is_nil(pools[pool], url)
      pools[pool] = true
    end
  end)
end)
