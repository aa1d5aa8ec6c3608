-- Promise: a request passes only by a 200 of the sidecar, or as nobody where the operator allows that; the upstream
-- sees no identity and no credential that the client gave, on no path.

local access_phase = require "spec.access_phase"
local gateways = require "spec.gateway"

local allowed, problem = access_phase.allowed, access_phase.problem

describe("a request", function()
  local conf, gateway, run

  before_each(function()
    run = access_phase.start()
    conf, gateway = run.conf, run.gateway
  end)

  after_each(gateways.stop)

  it("that is allowed goes upstream with what the sidecar says of it and nothing else", function()
    run.answer = allowed("bearer", "X-Application-Groups: gold, internal\r\nX-Claim: acme\r\nX-Unasked: x\r\n")
    run.execute()
    assert.is_nil(gateway.answer)
    assert.same({
      accept = "*", cookie = "a=1", ["x-application-id"] = "app-1", ["x-application-name"] = "Orders",
      ["x-credential-identifier"] = "client-1", ["x-auth-method"] = "bearer",
      ["x-application-groups"] = "gold, internal", ["x-claim"] = "acme",
    }, gateway.upstream)
    assert.same({ credential = { id = "client-1" } }, gateway.authenticated)
    assert.same({
      outcome = "allowed", status = 200, strategy = "azure", service = "orders", application_id = "app-1",
      application_name = "Orders", credential_identifier = "client-1", auth_method = "bearer",
      groups = { "gold", "internal" }, headers = { ["X-Claim"] = "acme" }, cached = false, latency_ms = 13,
    }, run.known())
    assert.same({ "gold", "internal" }, gateway.shared.authenticated_groups)
    assert.same({}, gateway.log)
  end)

  it("is asked about with its own credential, path and trace", function()
    conf.additional_strategies, conf.service = { "okta" }, "a/b"
    local traceparent = "00-" .. ("a"):rep(32) .. "-" .. ("b"):rep(16) .. "-01"
    run.execute({ traceparent = traceparent })
    assert.same({ "GET /v1/authorize/azure,okta/a%2Fb HTTP/1.1\r\nHost: 127.0.0.1:8100\r\n"
      .. "Authorization: Bearer secret\r\nCookie: __Host-session=secret\r\ntraceparent: " .. traceparent
      .. "\r\n\r\n" }, run.asked)
  end)

  for status, reason in pairs { [401] = "token_expired", [403] = "not_registered", [429] = "too_many_attempts" } do
    it("that is refused with " .. status .. " ends so", function()
      run.answer = problem(status, reason, "Set-Cookie: s=secret\r\nRetry-After: 7\r\n")
      assert.equal("the request has ended", run.execute())
      run.is_ended_with(status)
      assert.equal('{"reason":"' .. reason .. '"}', gateway.answer.body)
      assert.equal("denied", run.known().outcome)
      assert.equal(reason, run.known().reason)
      assert.equal("7", gateway.answer.headers["Retry-After"])
    end)
  end

  for name, case in pairs {
    ["the sidecar gives no reply"] = { "connecting failed: connection refused", "err: no decision: .*refused" },
    ["the sidecar has a 503"] = { problem(503, "store_unavailable"), "warn: no decision: the sidecar answered 503" },
    ["the sidecar knows no strategy"] = { problem(404, "strategy_unknown"), "err: no decision: .* 'azure'" },
    ["a header that the upstream trusts is repeated"] = {
      allowed("bearer", "X-Claim: a\r\nX-Claim: b\r\n"), "err: no decision: the reply is not well%-formed",
    },
  } do
    for _, anonymous in ipairs { false, "nobody" } do
      it("gets 503 where " .. name .. (anonymous and ", though nobody may pass" or ""), function()
        conf.anonymous, gateway.consumers.nobody = anonymous or nil, { id = "id-0" }
        run.answer = case[1]
        assert.equal("the request has ended", run.execute())
        run.is_ended_with(503)
        assert.equal("5", gateway.answer.headers["Retry-After"])
        assert.equal("unavailable", run.known().outcome)
        assert.matches(case[2], run.logged())
      end)
    end
  end

  for name, change in pairs {
    ["no service has a name"] = function()
      gateway.service = {}
    end,
    ["there is no service"] = function()
      gateway.service = nil
    end,
    ["the service can be in no path"] = function()
      gateway.service = { name = ".." }
    end,
    ["the address is none"] = function()
      conf.validator_url = "nonsense"
    end,
    ["the strategy can be in no path"] = function()
      conf.strategy = "."
    end,
  } do
    it("gets 503 where " .. name .. ", and nobody is asked", function()
      change()
      assert.equal("the request has ended", run.execute())
      run.is_ended_with(503)
      assert.same({}, run.asked)
      assert.matches("^err: no decision: ", run.logged())
    end)
  end

  for name, headers in pairs {
    ["two Authorizations"] = { authorization = { "Bearer a", "Bearer b" } },
    ["two Cookies"] = { cookie = { "a=1", "b=2" } },
    ["an end of a line in its credential"] = { authorization = "Bearer a\r\nX: y" },
  } do
    for ttl = 0, 60, 60 do
      it("gets 401 with " .. name .. ", and nobody is asked; cache " .. ttl, function()
        conf.decision_cache_ttl_s = ttl
        run.execute(headers)
        run.is_ended_with(401)
        assert.same({}, run.asked)
      end)
    end
  end

  it("gets 401 with more headers than are read, and its identity headers go all the same", function()
    local many, all = { authorization = "Bearer secret" }, {}
    for at = 1, 99 do
      many["n-" .. at] = "v"
    end
    for name, value in pairs(many) do
      all[name] = value
    end
    all["x_application_id"], all["x-claim"] = "evil", "evil"
    gateways.receive(gateway, all)
    gateway.received, gateway.all_received = many, all
    run.access.execute(conf)
    run.is_ended_with(401)
    assert.same({}, run.asked)
  end)
end)
