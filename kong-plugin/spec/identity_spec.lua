-- Promise: every spelling that a CGI or WSGI upstream folds into an identity header is known, and no other header is.

local identity = require "kong.plugins.credential-validator.identity"

local NAMES = {
  "x-application-id", "x-application-name", "x-credential-identifier", "x-auth-method", "x-consumer-id",
  "x-consumer-custom-id", "x-consumer-username", "x-anonymous-consumer", "x-consumer-groups",
  "x-authenticated-groups", "x-session-id",
}

describe("identity headers", function()
  local cleared

  before_each(function()
    cleared = {}
    _G.kong = { service = { request = { clear_header = function(name)
      cleared[name] = true
    end } } }
  end)

  after_each(function()
    _G.kong = nil
  end)

  it("are known in every spelling", function()
    local expected = {}
    for _, name in ipairs(NAMES) do
      expected[name] = true
      assert.is_true(identity.EVERY_SPELLING[name])
      assert.is_true(identity.EVERY_SPELLING[(name:gsub("-", "_"))])
      assert.is_true(identity.EVERY_SPELLING[(name:gsub("-", "_", 1))])
    end
    local count = 0
    for spelled in pairs(identity.EVERY_SPELLING) do
      count = count + 1
      assert.is_true(expected[spelled:gsub("_", "-")], spelled)
    end
    assert.equal(48, count)
  end)

  it("are cleared, and nothing else is", function()
    local truncated = identity.clear({ ["x_consumer-id"] = "a", ["X-Auth-Method"] = { "a", "b" }, accept = "*" }, 100)
    assert.is_false(truncated)
    assert.same({ ["x_consumer-id"] = true, ["X-Auth-Method"] = true }, cleared)
  end)

  it("of another plugin stay, but not their other spellings", function()
    identity.clear({ ["x-consumer-id"] = "a", ["x_consumer_id"] = "b", ["x-application-id"] = "c" }, 100, true)
    assert.same({ ["x_consumer_id"] = true, ["x-application-id"] = true }, cleared)
  end)

  it("are all cleared where not all could be read", function()
    assert.is_true(identity.clear({ a = { "1", "2" }, b = "3" }, 3))
    for spelled in pairs(identity.EVERY_SPELLING) do
      assert.is_true(cleared[spelled])
    end
  end)
end)
