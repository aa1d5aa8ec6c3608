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
