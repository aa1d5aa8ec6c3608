-- Promise: what is worked out for a configuration is its own, and is worked out again when a value of it changes.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

describe("a configuration", function()
  local settings

  before_each(function()
    gateways.start()
    settings = fresh "settings"
  end)

  after_each(gateways.stop)

  local function new(given)
    local conf = {
      __plugin_id = "p1", validator_url = "https://validator.example:8443", strategy = "azure", tls_verify = true,
    }
    for name, value in pairs(given or {}) do
      conf[name] = value
    end
    return conf
  end

  it("is read once", function()
    local conf = new()
    assert.equal(settings.of(conf), settings.of(conf))
  end)

  it("is another than its equal", function()
    assert.are_not.equal(settings.of(new()), settings.of(new()))
    assert.are_not.equal(settings.of(new()).targets[1].health, settings.of(new()).targets[1].health)
  end)

  it("keeps its decisions under the id of its plugin, or before Kong 3.3 its key, or not at all", function()
    assert.matches("^p1:", settings.of(new()).scope)
    assert.matches("^p1:", settings.of(new { __key__ = "k1" }).scope)
    local old = new { __key__ = "k1" }
    old.__plugin_id = nil
    assert.matches("^k1:", settings.of(old).scope)
    old = new()
    old.__plugin_id = nil
    assert.is_nil(settings.of(old).scope)
  end)

  it("keeps them apart from those under other terms, which a change leaves in Kong's cache", function()
    local seen = { [settings.of(new()).scope] = true }
    for name, value in pairs {
      validator_url = "http://other:1", fallback_validator_urls = { "http://b:1" }, upstream_headers = { "X-Claim" },
      forward_minted_token = true, tls_verify = "another", tls_server_name = "other",
    } do
      local scope = settings.of(new { [name] = value }).scope
      assert.is_nil(seen[scope], name)
      seen[scope] = true
    end
    assert.is_true(seen[settings.of(new { realm = "r", timeout_ms = 5 }).scope])
  end)

  it("has no sidecar where the vault has none", function()
    local none = new()
    none.validator_url = nil
    assert.equal("validator_url is empty", settings.of(none).err)
  end)

  it("has all its sidecars in the order written, each with a health of its own", function()
    local targets = settings.of(new { fallback_validator_urls = { "http://b:1", "unix:/c" } }).targets
    assert.equal("https://validator.example:8443", targets[1].url)
    assert.equal("http://b:1", targets[2].url)
    assert.equal("unix:/c", targets[3].url)
    assert.equal(3, #targets)
    assert.are_not.equal(targets[1].health, targets[2].health)
    assert.are_not.equal(targets[2].health, targets[3].health)
  end)

  it("has all its strategies in the order written", function()
    local found = settings.of(new { additional_strategies = { "okta", "a,b" } })
    assert.equal("azure,okta,a%2Cb", found.strategies)
    assert.equal("azure,okta,a,b", found.strategy)
    assert.equal("/v1/authorize/azure,okta,a%2Cb/orders", (settings.path(found, "orders")))
    assert.equal("/v1/authorize/azure/orders", (settings.path(settings.of(new()), "orders")))
  end)

  it("has a path for each service", function()
    local found = settings.of(new())
    for _ = 1, 2 do
      assert.equal("/v1/authorize/azure/orders", (settings.path(found, "orders")))
      assert.equal("/v1/authorize/azure/a%2Fb", (settings.path(found, "a/b")))
    end
    for _ = 1, 2 do
      local path, err = settings.path(found, "..")
      assert.is_nil(path)
      assert.matches("^service: ", err)
    end
    assert.equal("/v1/authorize/azure/orders", (settings.path(found, "orders")))
  end)

  for name, case in pairs {
    ["an address"] = { { validator_url = "validator:8443" }, "^validator_url: " },
    ["another sidecar's address"] = { { fallback_validator_urls = { "http://b:1", "ftp://x:1" } }, "^validator_url: " },
    ["a strategy"] = { { strategy = ".." }, "^strategy: " },
    ["another strategy"] = { { additional_strategies = { "okta", "." } }, "^strategy: " },
  } do
    it("asks nobody where it has " .. name .. " that is none", function()
      local conf = new(case[1])
      for _ = 1, 2 do
        local path, err = settings.path(settings.of(conf), "orders")
        assert.is_nil(path)
        assert.matches(case[2], err)
      end
    end)
  end

  it("sees the name that the certificate must have", function()
    assert.equal("validator.example", settings.of(new()).targets[1].tls)
    assert.equal("other", settings.of(new { tls_server_name = "other" }).targets[1].tls)
    assert.is_nil(settings.of(new { validator_url = "http://a:1", tls_server_name = "other" }).targets[1].tls)
    assert.is_nil(settings.of(new { validator_url = "unix:/a", tls_server_name = "other" }).targets[1].tls)
  end)

  it("shares no encrypted connection with one of other terms", function()
    local seen = {}
    for _, given in ipairs {
      {}, { tls_verify = false }, { tls_server_name = "other" }, { tls_server_name = "other", tls_verify = false },
      { tls_server_name = "1" }, { tls_client_certificate = "C1", tls_client_key = "K1" },
      { tls_client_certificate = "C2", tls_client_key = "K2" },
      { tls_client_certificate = "C1", tls_client_key = "K1", tls_verify = false },
      { tls_client_certificate = "C1", tls_client_key = "K1", tls_server_name = "other" },
      { validator_url = "https://validator.example:8444" }, { validator_url = "http://validator.example:8443" },
    } do
      local pool = settings.of(new(given)).targets[1].pool
      assert.is_nil(seen[pool])
      seen[pool] = true
    end
  end)

  it("shares its connections with one of the same terms", function()
    for _, given in ipairs {
      {}, { tls_verify = false }, { tls_server_name = "x" }, { validator_url = "http://a:1" },
      { validator_url = "unix:/a" },
    } do
      given.__plugin_id = "p1"
      local one = settings.of(new(given)).targets[1].pool
      given.__plugin_id = "p2"
      assert.equal(one, settings.of(new(given)).targets[1].pool)
    end
  end)

  it("is read again where a vault has another value for it", function()
    local conf = new { tls_client_certificate = "C1", tls_client_key = "K1" }
    local before = settings.of(conf)
    for name, value in pairs {
      validator_url = "https://moved:1", tls_client_certificate = "C2", tls_client_key = "K2",
    } do
      conf[name] = value
      local after = settings.of(conf)
      assert.are_not.equal(before, after)
      assert.are_not.equal(before.targets[1].pool, after.targets[1].pool)
      assert.equal(after, settings.of(conf))
      before = after
    end
    assert.equal("https://moved:1", before.targets[1].url)
  end)

  it("is read again where a vault has lost a value", function()
    local conf = new { tls_client_certificate = "C1", tls_client_key = "K1" }
    local before = settings.of(conf)
    conf.tls_client_certificate, conf.tls_client_key = nil, nil
    assert.are_not.equal(before.targets[1].pool, settings.of(conf).targets[1].pool)
  end)

  it("removes the strategy's headers too", function()
    assert.equal("ours", settings.of(new { upstream_headers = { "X-Claim" } }).names.kinds["x-claim"])
    assert.is_nil(settings.of(new()).names.kinds["x-claim"])
  end)
end)
