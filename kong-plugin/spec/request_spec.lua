-- Promise: the sidecar is shown the client's one credential and nothing else, and the upstream is shown none.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local CONF = { session_cookie_name = "__Host-session" }

describe("what is asked about a request", function()
  local gateway, request

  before_each(function()
    gateway = gateways.start()
    request = fresh "request"
  end)

  after_each(gateways.stop)

  for name, case in pairs {
    ["nothing where it has no credential"] = { { accept = "*" }, {} },
    ["its Authorization"] = { { authorization = "Bearer t" }, { authorization = "Bearer t" } },
    ["the session's cookie and no other"] = {
      { cookie = "a=1; __Host-session=s; b=2" }, { cookie = "__Host-session=s" },
    },
    ["every cookie of that name"] = {
      { cookie = "__Host-session=s; a=1; __Host-session=t" }, { cookie = "__Host-session=s; __Host-session=t" },
    },
    ["nothing of other cookies"] = { { cookie = "a=1; session=s" }, {} },
    ["the Authorization and the session's cookie"] = {
      { authorization = "Bearer t", cookie = "a=1; __Host-session=s" },
      { authorization = "Bearer t", cookie = "__Host-session=s" },
    },
    ["an Authorization without other cookies"] = {
      { authorization = "Bearer t", cookie = "a=1" }, { authorization = "Bearer t" },
    },
    ["an empty Authorization"] = { { authorization = "" }, { authorization = "" } },
  } do
    it("is " .. name, function()
      local question, refusal = request.question(CONF, "orders", case[1], false)
      assert.is_nil(refusal)
      assert.equal(case[1], question.received)
      assert.equal("orders", question.service)
      assert.same(case[2], { authorization = question.authorization, cookie = question.cookie })
    end)
  end

  for name, case in pairs {
    ["two Authorizations"] = { { authorization = { "Bearer a", "Bearer b" } }, false, "multiple_credentials" },
    ["two Authorizations among too many lines"] = { { authorization = { "a", "b" } }, true, "multiple_credentials" },
    ["two Cookies"] = { { cookie = { "a=1", "__Host-session=s" } }, false, "malformed_credential" },
    ["more lines than were read"] = { { authorization = "Bearer t" }, true, "malformed_credential" },
    ["more lines than were read and no credential"] = { {}, true, "malformed_credential" },
    ["a Cookie with an end of a line"] = { { cookie = "__Host-session=s\r\nX: y" }, false, "malformed_credential" },
    ["another cookie with a NUL"] = { { cookie = "a=\0; __Host-session=s" }, false, "malformed_credential" },
    ["a bad cookie beside an Authorization"] = { { authorization = "Bearer t", cookie = "a=\1" }, false,
      "malformed_credential" },
  } do
    it("is nothing where it has " .. name .. ": it is refused", function()
      local question, refusal = request.question(CONF, "orders", case[1], case[2])
      assert.is_nil(question.cookie)
      assert.equal(401, refusal.status)
      assert.matches('"reason":"' .. case[3] .. '"', refusal.body)
      assert.matches("^Bearer", refusal.challenge)
    end)
  end

  it("is read under the headers' own names alone", function()
    local received = setmetatable({}, { __index = function(_, name)
      error("looked for " .. name .. " in other spellings")
    end })
    assert.is_nil(request.question(CONF, "orders", received, false).authorization)
    request.hide_credentials(CONF, received)
  end)

  for name, case in pairs {
    ["its Authorization"] = { { authorization = "Bearer t", accept = "*" }, { accept = "*" } },
    ["the session's cookie and no other"] = { { cookie = "a=1; __Host-session=s; b=2" }, { cookie = "a=1; b=2" } },
    ["a Cookie that had nothing else"] = { { cookie = "__Host-session=s; __Host-session=t" }, {} },
    ["nothing of other cookies"] = { { cookie = "a=1" }, { cookie = "a=1" } },
    ["all cookies where there are several lines of them"] = { { cookie = { "a=1", "__Host-session=s" } }, {} },
    ["both"] = { { authorization = "Basic x", cookie = "__Host-session=s; a=1" }, { cookie = "a=1" } },
  } do
    it("is hidden from a later plugin only where it is ours to judge, unlike the cookie: " .. name, function()
      for scheme, is_ours in pairs { Bearer = true, bEARER = true, Basic = true, hmac = false, Negotiate = false,
        ["Bearer,x"] = true, ["hmac-sha256"] = false } do
        local received = { authorization = scheme .. " x", cookie = case[1].cookie }
        gateways.receive(gateway, received)
        request.hide_credentials(CONF, received, true)
        assert.equal(not is_ours and scheme .. " x" or nil, gateway.upstream.authorization)
        assert.equal(case[2].cookie, gateway.upstream.cookie)
      end
    end)

    it("is hidden from the upstream: " .. name, function()
      gateways.receive(gateway, case[1])
      request.hide_credentials(CONF, case[1])
      assert.same(case[2], gateway.upstream)
    end)
  end
end)
