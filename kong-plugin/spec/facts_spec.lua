-- Promise: other plugins learn who called and how it ended, and never a credential, a cookie or a token.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local function holds(node, text)
  for key, value in pairs(node) do
    if type(value) == "table" and holds(value, text) or tostring(value):find(text, 1, true)
      or tostring(key):find(text, 1, true) then
      return true
    end
  end
  return false
end

describe("facts", function()
  local gateway, facts, settings, reply

  before_each(function()
    gateway = gateways.start()
    local loaded
    facts, loaded = fresh "facts"
    assert.truthy(loaded.reply)
    settings = {
      strategy = "azure,okta",
      names = { upstream = { { name = "X-Claim", lower = "x-claim" }, { name = "X-Absent", lower = "x-absent" } } },
    }
    reply = {
      status = 200, body = '{"reason":"revoked"}', access_token = "secret", set_cookies = { "s=secret" },
      session_id = "s-1", groups = "gold, internal", challenge = "secret",
      others = { ["x-claim"] = "acme", ["x-unasked"] = "secret", ["x-unfit"] = false },
      identity = {
        ["X-Application-Id"] = "app-1", ["X-Application-Name"] = "Orders", ["X-Credential-Identifier"] = "c-1",
        ["X-Auth-Method"] = "session",
      },
    }
  end)

  after_each(gateways.stop)

  local KNOWN = { service = "orders", latency_ms = 2, cached = false }

  local function tell(...)
    facts.tell(settings, ...)
    return gateway.shared.credential_validator
  end

  it("are told to plugins and to logs alike", function()
    local told = tell(KNOWN, "allowed", 200, reply, { id = "id-1" })
    assert.same({
      outcome = "allowed", status = 200, strategy = "azure,okta", service = "orders", application_id = "app-1",
      application_name = "Orders", credential_identifier = "c-1", auth_method = "session", session_id = "s-1",
      consumer_id = "id-1", headers = { ["X-Claim"] = "acme" }, groups = { "gold", "internal" }, cached = false,
      latency_ms = 2,
    }, told)
    assert.equal(told, gateway.serialized.credential_validator)
    assert.same({ "gold", "internal" }, gateway.shared.authenticated_groups)
  end)

  it("hold no secret of the reply", function()
    tell(KNOWN, "allowed", 200, reply)
    assert.is_false(holds(gateway.shared, "secret"))
    assert.is_false(holds(gateway.serialized, "secret"))
    assert.is_nil(gateway.shared.credential_validator.reason)
  end)

  it("say why it was refused, in the sidecar's word", function()
    for _, case in ipairs {
      { 401, '{"reason":"revoked"}', "revoked" }, { 403, '{"reason":"not_registered"}', "not_registered" },
      { 429, "", nil }, { 401, '{"reason":"Bearer secret"}', nil },
    } do
      assert.same({
        outcome = "denied", status = case[1], strategy = "azure,okta", service = "orders", reason = case[3],
        cached = true, latency_ms = 0,
      }, tell({ service = "orders", latency_ms = 0, cached = true }, "denied", case[1],
        { status = case[1], body = case[2] }))
    end
    assert.is_nil(gateway.shared.authenticated_groups)
  end)

  it("say so where nobody was asked", function()
    assert.same({ outcome = "unavailable", status = 503, strategy = "azure,okta", cached = false, latency_ms = 0 },
      tell({ latency_ms = 0, cached = false }, "unavailable", 503))
  end)

  it("have no groups, headers or consumer where there are none", function()
    reply.groups, reply.others, reply.session_id = nil, nil, nil
    local told = tell(KNOWN, "allowed", 200, reply)
    for _, name in ipairs { "groups", "headers", "consumer_id", "session_id" } do
      assert.is_nil(told[name])
    end
    assert.same({}, gateway.shared.authenticated_groups) -- acl: in no group, and not unknown
  end)

  it("give acl no groups of an application that does not pass", function()
    for _, outcome in ipairs { "denied", "unavailable", "anonymous" } do
      tell(KNOWN, outcome, 403, reply)
      assert.is_nil(gateway.shared.authenticated_groups)
    end
  end)

  it("are one request's own", function()
    local first = tell(KNOWN, "allowed", 200, reply)
    first.groups[1], first.headers["X-Claim"] = "changed", "changed"
    assert.same({ "gold", "internal" }, gateway.shared.authenticated_groups)
    gateway.shared.authenticated_groups[1], gateway.shared.authenticated_groups = "changed", nil
    local second = tell(KNOWN, "allowed", 200, reply)
    assert.same({ "gold", "internal" }, second.groups)
    assert.same({ ["X-Claim"] = "acme" }, second.headers)
    assert.same({ "gold", "internal" }, gateway.shared.authenticated_groups)
  end)

  it("leave the groups that another plugin has given", function()
    gateway.shared.authenticated_groups = { "other" }
    assert.same({ "gold", "internal" }, tell(KNOWN, "allowed", 200, reply).groups)
    assert.same({ "other" }, gateway.shared.authenticated_groups)
  end)
end)
