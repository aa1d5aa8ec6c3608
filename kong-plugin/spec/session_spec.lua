-- Promise: a session's cookies reach their client beside the upstream's, and no cache in between keeps them.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

describe("a session's cookies", function()
  local gateway, session

  before_each(function()
    gateway = gateways.start()
    session = fresh "session"
  end)

  after_each(gateways.stop)

  local function pass_on(response, cookies)
    gateway.response = response or {}
    session.hold({ set_cookies = cookies or { "s=1; Secure" } })
    session.pass_on()
    return gateway.response
  end

  it("are added to a response, which only its client may keep", function()
    assert.same({ ["set-cookie"] = { "s=1; Secure" }, ["cache-control"] = "private" }, pass_on())
  end)

  it("stand beside the upstream's, in their order", function()
    assert.same({ "u=1", "s=1", "t=2" }, pass_on({ ["set-cookie"] = "u=1" }, { "s=1", "t=2" })["set-cookie"])
    assert.same({ "u=1", "v=2", "s=1" }, pass_on({ ["set-cookie"] = { "u=1", "v=2" } }, { "s=1" })["set-cookie"])
  end)

  it("are none where the reply had none, and the response stays what it is", function()
    gateway.response = { ["cache-control"] = "public" }
    session.hold({})
    session.pass_on()
    assert.same({ ["cache-control"] = "public" }, gateway.response)
  end)

  it("belong to one request", function()
    session.hold({ set_cookies = { "s=1" } })
    _G.ngx.ctx = {} -- another request's
    session.pass_on()
    assert.same({}, gateway.response)
  end)

  it("are under no name in the request's context that others could know", function()
    session.hold({ set_cookies = { "s=1" } })
    for name in pairs(_G.ngx.ctx) do
      assert.are_not.equal("string", type(name))
    end
  end)

  for name, case in pairs {
    ["a response with an age"] = { "max-age=60", "private, max-age=60" },
    ["a public response"] = { "public, max-age=60", "private, max-age=60" },
    ["one in capitals"] = { "PUBLIC, S-MaxAge=9, Max-Age=60", "private, Max-Age=60" },
    ["an age of shared caches"] = { "s-maxage=600,max-age=60", "private, max-age=60" },
    ["an age of shared caches alone"] = { "s-maxage=600", "private" },
    ["a private header alone"] = { 'private="x-a", max-age=60', 'private, private="x-a", max-age=60' },
    ["a list of private headers"] = { 'private="x-a, x-b", s-maxage=6', 'private, private="x-a, x-b"' },
    ["several lines"] = { { "public", "max-age=60", "s-maxage=5" }, "private, max-age=60" },
    ["empty elements"] = { " , max-age=60,, public", "private, max-age=60" },
    ["nothing"] = { "", "private" },
    ["no-cache, which may be stored"] = { "no-cache", "private, no-cache" },
    ["a private response"] = { "private, max-age=60", "private, max-age=60" },
    ["a response in private"] = { "max-age=60, Private", "max-age=60, Private" },
    ["no-store"] = { "No-Store", "No-Store" },
    ["no-store on another line"] = { { "max-age=60", "no-store" }, { "max-age=60", "no-store" } },
    ["another directive of a like name"] = { "private-x, x-no-store", "private, private-x, x-no-store" },
  } do
    it("make of " .. name .. " one for its client", function()
      local response = pass_on({ ["cache-control"] = case[1] })
      assert.same(case[2], response["cache-control"])
      assert.same({ "s=1; Secure" }, response["set-cookie"])
    end)
  end

  for name, response in pairs {
    ["a response that is about to be stored"] = { ["x-cache-status"] = "Miss" },
    ["one that replaces a stored one"] = { ["x-cache-status"] = "Refresh" },
    ["one that passes the cache and has a key"] = { ["x-cache-status"] = "Bypass", ["x-cache-key"] = "k" },
    ["one of which any says so"] = { ["x-cache-status"] = { "Hit", "Miss" } },
  } do
    it("are withheld from " .. name, function()
      local before = response["x-cache-status"]
      pass_on(response)
      assert.is_nil(response["set-cookie"])
      assert.is_nil(response["cache-control"])
      assert.equal(before, response["x-cache-status"])
    end)
  end

  -- Kong's list of the plugins that see this response: each and its configuration, their count under 0.
  local function see_it(...)
    local list = { [0] = 2 * select("#", ...) }
    for at, name in ipairs { ... } do
      list[2 * at - 1], list[2 * at] = { name = name }, {}
    end
    return list
  end

  for _, name in ipairs { "proxy-cache", "proxy-cache-advanced", "graphql-proxy-cache-advanced" } do
    for since, plugins in pairs {
      ["3.0"] = see_it("credential-validator", name),
      ["3.1"] = { header_filter = see_it("credential-validator", name), log = see_it("http-log") },
    } do
      it("are kept from " .. name .. " that does not say what it does, in Kong " .. since, function()
        _G.ngx.ctx.plugins = plugins
        assert.is_nil(pass_on({})["set-cookie"])
        gateway.source = "exit" -- perhaps of a plugin behind it, whose answer it stores
        assert.is_nil(pass_on({})["set-cookie"])
        assert.is_nil(pass_on({ ["x-cache-status"] = "HIT" })["set-cookie"]) -- the upstream's own
        assert.same({ "s=1; Secure" }, pass_on({ ["x-cache-status"] = "Hit" })["set-cookie"])
        gateway.source = "service"
        assert.is_nil(pass_on({ ["x-cache-status"] = "Hit" })["set-cookie"])
        gateway.shared.proxy_cache_hit = {}
        assert.same({ "s=1; Secure" }, pass_on({})["set-cookie"])
        gateway.shared.proxy_cache_hit = nil
        assert.same({ "s=1; Secure" }, pass_on({ ["x-cache-status"] = "Bypass" })["set-cookie"])
      end)
    end
  end

  for name, plugins in pairs {
    ["other plugins"] = see_it("cors", "rate-limiting"), ["no list"] = {}, ["something else"] = "x",
    ["a list of something else"] = { header_filter = "x" }, ["plugins without names"] = { [0] = 2, {}, {} },
  } do
    it("are added where Kong has " .. name, function()
      _G.ngx.ctx.plugins = plugins
      assert.same({ "s=1; Secure" }, pass_on({})["set-cookie"])
    end)
  end

  it("are in no log, where they stand beside the upstream's", function()
    pass_on({ ["set-cookie"] = "u=1" })
    assert.equal("REDACTED", gateway.serialized["response.headers.set-cookie"])
    assert.equal("replace", gateway.modes["response.headers.set-cookie"])
  end)

  for name, response in pairs {
    ["one that was stored before"] = { ["x-cache-status"] = "Hit" },
    ["one that passes the cache without a key"] = { ["x-cache-status"] = "Bypass" },
    ["one with a key alone"] = { ["x-cache-key"] = "k" },
  } do
    it("are added to " .. name, function()
      assert.same({ "s=1; Secure" }, pass_on(response)["set-cookie"])
    end)
  end
end)
