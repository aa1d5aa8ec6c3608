-- Promise: every spelling that a CGI or WSGI upstream folds into an identity header is removed, and no other header is.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local OURS = {
  "x-application-id", "x-application-name", "x-auth-method", "x-session-id", "x-application-groups",
  "x-consumer-groups", "x-authenticated-groups",
}
local SHARED = {
  "x-credential-identifier", "x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-anonymous-consumer",
}

-- Every mixture of hyphens and underscores.
local function spellings(name)
  local found = { "" }
  for char in name:gmatch(".") do
    local longer = {}
    for _, begun in ipairs(found) do
      longer[#longer + 1] = begun .. char
      if char == "-" then
        longer[#longer + 1] = begun .. "_"
      end
    end
    found = longer
  end
  return found
end

local function count(set)
  local found = 0
  for _ in pairs(set) do
    found = found + 1
  end
  return found
end

describe("identity headers", function()
  local gateway, identity

  before_each(function()
    gateway = gateways.start()
    identity = fresh "identity"
  end)

  after_each(gateways.stop)

  local function all_spelled(names)
    local headers, total = {}, 0
    for _, name in ipairs(names) do
      for _, spelled in ipairs(spellings(name)) do
        headers[spelled], total = "evil", total + 1
      end
    end
    return headers, total
  end

  for _, upstream_headers in ipairs { {}, { "X-Claim-Tenant", "Tenant", "a-B-c" } } do
    local with = #upstream_headers > 0 and " and the strategy's" or ""

    it("in every spelling" .. with .. " go", function()
      local all = { unpack(OURS) }
      for _, name in ipairs(SHARED) do
        all[#all + 1] = name
      end
      for _, name in ipairs(upstream_headers) do
        all[#all + 1] = name:lower()
      end
      local headers, total = all_spelled(all)
      gateways.receive(gateway, headers)
      assert.is_false(select(2, identity.clear(identity.names(upstream_headers), headers, 1000)))
      assert.same({}, gateway.upstream)
      assert.equal(total, count(gateway.cleared))
    end)

    it("of another plugin stay, but not their other spellings, nor ours" .. with, function()
      local headers = all_spelled(SHARED)
      for name in pairs(all_spelled(OURS)) do
        headers[name] = "evil"
      end
      for _, name in ipairs(upstream_headers) do
        headers[name:lower()] = "evil"
      end
      gateways.receive(gateway, headers)
      identity.clear(identity.names(upstream_headers), headers, 1000, true)
      local expected = {}
      for _, name in ipairs(SHARED) do
        expected[name] = "evil"
      end
      assert.same(expected, gateway.upstream)
    end)
  end

  it("are 12, in 52 spellings", function()
    local _, ours = all_spelled(OURS)
    local _, shared = all_spelled(SHARED)
    assert.equal(12, #OURS + #SHARED)
    assert.equal(count(identity.names().kinds), #OURS + #SHARED)
    assert.equal(52, ours + shared)
  end)

  it("are no other headers", function()
    local headers = {
      accept = "*", ["x-forwarded-for"] = "a", ["x_forwarded_for"] = "a", ["x-application-ids"] = "a",
      ["xx-application-id"] = "a", ["x-application"] = "a", ["application-id"] = "a", ["x--application-id"] = "a",
      ["x-applicationid"] = "a", ["x.application.id"] = "a", ["tenant"] = "a", ["x"] = "a", ["_"] = "a", ["-"] = "a",
      ["x-consumer"] = "a", ["x-consumer-id-"] = "a", ["authorization"] = "a", ["cookie"] = { "a", "b" },
    }
    gateways.receive(gateway, headers)
    identity.clear(identity.names { "X-Claim" }, headers, 1000)
    assert.same({}, gateway.cleared)
    assert.same(headers, gateway.upstream)
  end)

  it("go where they are repeated", function()
    gateways.receive(gateway, { ["x-application-id"] = { "a", "b" }, ["x_auth_method"] = { "a", "b" } })
    identity.clear(identity.names(), gateway.received, 1000)
    assert.same({}, gateway.upstream)
  end)

  it("go from beyond the limit too, where not all could be read", function()
    gateways.receive(gateway, { a = { "1", "2" }, b = "3" })
    gateway.all_received = { a = { "1", "2" }, b = "3" }
    for name in pairs(all_spelled(OURS)) do
      gateway.all_received[name], gateway.upstream[name] = "evil", "evil"
    end
    local whole, truncated = identity.clear(identity.names(), gateway.received, 3)
    assert.equal(gateway.all_received, whole)
    assert.is_true(truncated)
    assert.same({ a = { "1", "2" }, b = "3" }, gateway.upstream)
    assert.equal(0, gateway.limit)
  end)

  it("go from among more than a hundred lines", function()
    local first, all = {}, {}
    for at = 1, 300 do
      all["n-" .. at] = "v"
      if at <= 100 then
        first["n-" .. at] = "v"
      end
    end
    all["x_consumer_id"], all["x-claim"], all["x-consumer-id"] = "evil", "evil", "of another plugin"
    gateways.receive(gateway, all)
    gateway.received, gateway.all_received = first, all
    assert.is_true(select(2, identity.clear(identity.names { "X-Claim" }, first, 100, true)))
    assert.is_nil(gateway.upstream["x_consumer_id"])
    assert.is_nil(gateway.upstream["x-claim"])
    assert.equal("of another plugin", gateway.upstream["x-consumer-id"])
    assert.equal("v", gateway.upstream["n-300"])
  end)

  it("are all known where fewer lines came than the limit", function()
    local received = { a = { "1", "2" } }
    local whole, truncated = identity.clear(identity.names(), received, 3)
    assert.equal(received, whole)
    assert.is_false(truncated)
    assert.is_nil(gateway.limit)
    assert.is_true(select(2, identity.clear(identity.names(), { a = { "1", "2", "3" } }, 3)))
  end)

  for connection, named in pairs {
    ["keep-alive"] = false, ["close"] = false, ["Upgrade"] = false, ["keep-alive, Upgrade"] = false, [""] = false,
    ["te, x-application-ids"] = false, ["X-Application-Id"] = true, ["close,x_application-id"] = true,
    ["keep-alive , X-ANONYMOUS-CONSUMER"] = true, ["x-claim"] = true, ["x_claim"] = true, ["Authorization"] = true,
    ["x-consumer-groups\t,x"] = true,
  } do
    it(("are %s in Connection: %q"):format(named and "named" or "not named", connection), function()
      local names = identity.names { "X-Claim" }
      assert.equal(named, identity.named_in_connection(names, { connection = connection }))
      assert.equal(named, identity.named_in_connection(names, { connection = { "te", connection } }))
    end)
  end

  it("are not named where there is no Connection", function()
    assert.is_false(identity.named_in_connection(identity.names(), {}))
  end)

  local REPLY = {
    identity = {
      ["X-Application-Id"] = "app-1", ["X-Application-Name"] = "Orders", ["X-Credential-Identifier"] = "c-1",
      ["X-Auth-Method"] = "bearer",
    },
    groups = "gold, internal",
    others = { ["x-claim"] = "acme", ["x-unasked"] = "x", ["x-unfit"] = false },
    session_id = "s-1",
    access_token = "minted",
  }

  it("of an application are its facts, its groups and what the configuration names", function()
    identity.set_application(identity.names { "X-Claim", "X-Absent", "X-Unfit" }, REPLY)
    assert.same({
      ["X-Application-Id"] = "app-1", ["X-Application-Name"] = "Orders", ["X-Credential-Identifier"] = "c-1",
      ["X-Auth-Method"] = "bearer", ["X-Application-Groups"] = "gold, internal", ["X-Claim"] = "acme",
    }, gateway.set)
  end)

  it("of an application without a name, groups or claims are three", function()
    identity.set_application(identity.names { "X-Claim" }, { identity = {
      ["X-Application-Id"] = "app-1", ["X-Application-Name"] = "", ["X-Credential-Identifier"] = "c-1",
      ["X-Auth-Method"] = "session",
    } })
    assert.same({ ["X-Application-Id"] = "app-1", ["X-Credential-Identifier"] = "c-1", ["X-Auth-Method"] = "session" },
      gateway.set)
  end)

  it("that are unfit are told by their name", function()
    assert.equal("X-Unfit", identity.misfit(identity.names { "X-Claim", "X-Unfit" }, REPLY))
    assert.is_nil(identity.misfit(identity.names { "X-Claim", "X-Absent" }, REPLY))
    assert.is_nil(identity.misfit(identity.names(), REPLY))
    assert.is_nil(identity.misfit(identity.names { "X-Claim" }, { status = 403 }))
  end)

  it("of a consumer are those that it has", function()
    identity.set_consumer({ id = "id-1", custom_id = "c", username = "u" })
    assert.same({ ["X-Consumer-ID"] = "id-1", ["X-Consumer-Custom-ID"] = "c", ["X-Consumer-Username"] = "u" },
      gateway.set)
    gateway.set = {}
    identity.set_consumer({ id = "id-1" })
    assert.same({ ["X-Consumer-ID"] = "id-1" }, gateway.set)
  end)

  it("of nobody say so", function()
    identity.set_anonymous({ id = "id-1", username = "nobody" })
    assert.same({ ["X-Consumer-ID"] = "id-1", ["X-Consumer-Username"] = "nobody", ["X-Anonymous-Consumer"] = "true" },
      gateway.set)
  end)
end)
