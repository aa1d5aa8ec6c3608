-- Promise: an application is the consumer that the configuration maps it to and no other, for a bounded time.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local IDENTITY = { ["X-Application-Id"] = "app-1", ["X-Credential-Identifier"] = "client-1" }

describe("a consumer", function()
  local gateway, consumers, asked

  before_each(function()
    gateway = gateways.start()
    asked = {}
    for _, by in ipairs { "custom_id", "username" } do
      _G.kong.db.consumers["select_by_" .. by] = function(self, value)
        assert.equal(_G.kong.db.consumers, self)
        asked[#asked + 1] = by .. "=" .. value
        return gateway.consumers[by .. "=" .. value]
      end
    end
    consumers = fresh "consumers"
  end)

  after_each(gateways.stop)

  for name, case in pairs {
    ["custom_id and the application"] = { "custom_id", "application_id", "custom_id=app-1" },
    ["custom_id and the client"] = { "custom_id", "credential_identifier", "custom_id=client-1" },
    ["username and the application"] = { "username", "application_id", "username=app-1" },
    ["username and the client"] = { "username", "credential_identifier", "username=client-1" },
  } do
    it("is found by " .. name, function()
      local conf = { consumer_by = case[1], consumer_value = case[2] }
      gateway.consumers[case[3]] = { id = "id-1" }
      assert.equal("id-1", consumers.of_application(conf, IDENTITY).id)
      assert.same({ case[3] }, asked)
    end)

    it("is none where Kong knows nobody by " .. name, function()
      local consumer, err = consumers.of_application({ consumer_by = case[1], consumer_value = case[2] }, IDENTITY)
      assert.is_nil(consumer)
      assert.is_nil(err)
    end)
  end

  it("is kept under a key of its own for each field and value", function()
    local values = { "app-1", "app-2", "custom_id:app-1", "app-1:x" }
    for _, by in ipairs { "custom_id", "username" } do
      for _, value in ipairs(values) do
        local consumer = { id = by .. " " .. value }
        gateway.consumers[by .. "=" .. value] = consumer
        assert.equal(consumer, consumers.of_application({ consumer_by = by }, { ["X-Application-Id"] = value }))
      end
    end
    local count = 0
    for key in pairs(gateway.cached) do
      count = count + 1
      assert.matches("^consumers:credential%-validator:", key) -- not where Kong itself keeps an id
    end
    assert.equal(2 * #values, count)
  end)

  it("is kept for a minute, one that is missing for seconds, and one of a dead database not at all", function()
    for _, find in ipairs {
      function()
        return consumers.of_application({ consumer_by = "username" }, IDENTITY)
      end,
      function()
        return consumers.anonymous("nobody")
      end,
    } do
      local options
      _G.kong.cache.get = function(_, _, given)
        options = given
      end
      find()
      assert.is_true(options.ttl > 0 and options.ttl <= 60)
      assert.is_true(options.neg_ttl > 0 and options.neg_ttl <= 5)
      assert.equal(0.001, options.resurrect_ttl)
    end
  end)

  it("is an error, and no missing one, where Kong cannot look", function()
    _G.kong.cache.get = function()
      return nil, "the database is down"
    end
    for _, found in ipairs {
      { consumers.of_application({ consumer_by = "username" }, IDENTITY) }, { consumers.anonymous("nobody") },
    } do
      assert.is_nil(found[1])
      assert.equal("the database is down", found[2])
    end
  end)

  it("that stands for nobody is found by id or username, where Kong itself keeps it", function()
    gateway.consumers.nobody = { id = "id-0" }
    assert.equal("id-0", consumers.anonymous("nobody").id)
    assert.truthy(gateway.cached["consumers:nobody"])
    assert.is_nil((consumers.anonymous("missing")))
  end)
end)
