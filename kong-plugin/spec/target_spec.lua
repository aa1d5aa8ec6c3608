-- Promise: what an operator or a Gateway Service is called stays inside its own segment of the path, and the schema
-- takes exactly those addresses that the plugin can use.

local schema = require "kong.plugins.credential-validator.schema"
local target = require "kong.plugins.credential-validator.target"

local function field(name)
  for _, entry in ipairs(schema.fields) do
    for _, candidate in ipairs(entry.config and entry.config.fields or {}) do
      if candidate[name] then
        return candidate[name]
      end
    end
  end
  return error("no field " .. name, 2)
end

describe("a path", function()
  for service, encoded in pairs {
    orders = "orders", ["Orders-v1.2_x~"] = "Orders-v1.2_x~", ["a/b"] = "a%2Fb", ["a b"] = "a%20b", ["%2F"] = "%252F",
    ["é"] = "%C3%A9", ["?#&"] = "%3F%23%26", ["a\r\nb"] = "a%0D%0Ab", ["\0"] = "%00", ["..."] = "...",
  } do
    it("encodes " .. encoded, function()
      assert.equal("/v1/authorize/plain/" .. encoded, target.path("plain", service))
      assert.equal("/v1/authorize/" .. encoded .. "/orders", target.path(service, "orders"))
    end)
  end

  for _, segment in ipairs { "", ".", ".." } do
    it("cannot hold '" .. segment .. "'", function()
      local path, why = target.path("plain", segment)
      assert.is_nil(path)
      assert.matches("^service: ", why)
      path, why = target.path(segment, "orders")
      assert.is_nil(path)
      assert.matches("^strategy: ", why)
    end)
  end
end)

describe("an address", function()
  for url, parsed in pairs {
    ["http://127.0.0.1:8100"] = { "127.0.0.1", 8100, "127.0.0.1:8100" },
    ["http://validator.svc:8100/"] = { "validator.svc", 8100, "validator.svc:8100" },
    ["http://[::1]:8100"] = { "[::1]", 8100, "[::1]:8100" },
    ["unix:/run/validator/data.sock"] = { "unix:/run/validator/data.sock", nil, "localhost" },
  } do
    it("is " .. url, function()
      local got = assert(target.parse(url))
      assert.same(parsed, { got.host, got.port, got.host_header })
      assert.is_true(field("validator_url").custom_validator(url))
    end)
  end

  for _, url in ipairs {
    "", "127.0.0.1:8100", "http://127.0.0.1", "http://:8100", "http://x:0", "http://x:65536", "http://x:8100/path",
    "http://user@x:8100", "http://x y:8100", "http://x:8100\r\nHost: y", "unix:data.sock", "unix:/a b", "unix:",
    "https://x:8100", "ftp://x:21", "http://x:99999999999999999999",
  } do
    it("is not " .. ("%q"):format(url), function()
      assert.is_nil((target.parse(url)))
      local good, why = field("validator_url").custom_validator(url)
      assert.is_nil(good)
      assert.is_string(why)
    end)
  end

  it("has connections of its own", function()
    assert.are_not.equal(target.parse("http://a:1").pool, target.parse("http://a:2").pool)
    assert.are_not.equal(target.parse("http://a:1").pool, target.parse("unix:/a:1").pool)
  end)
end)
