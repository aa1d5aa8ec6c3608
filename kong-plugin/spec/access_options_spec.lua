-- Promise: whatever the operator configures (nobody, OPTIONS, consumers, minted tokens, kept decisions), nobody passes
-- for somebody else, and no secret goes where it does not belong.

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

  describe("as nobody", function()
    before_each(function()
      conf.anonymous, gateway.consumers.nobody = "nobody", { id = "id-0", username = "nobody" }
    end)

    it("passes where it would get 401, with nothing of its credential", function()
      run.answer = problem(401, "token_expired", "Set-Cookie: s=secret\r\n")
      assert.is_nil(run.execute())
      assert.is_nil(gateway.answer)
      assert.same({ accept = "*", cookie = "a=1", ["x-anonymous-consumer"] = "true", ["x-consumer-id"] = "id-0",
        ["x-consumer-username"] = "nobody" }, gateway.upstream)
      assert.same({ consumer = gateway.consumers.nobody }, gateway.authenticated)
      assert.equal("anonymous", run.known().outcome)
      assert.equal("token_expired", run.known().reason)
      assert.equal("id-0", run.known().consumer_id)
      assert.is_nil(run.known().application_id)
      run.pass_on()
      assert.same({}, gateway.response)
    end)

    it("passes not where it would get 403 or 429", function()
      for status, reason in pairs { [403] = "not_registered", [429] = "too_many_attempts" } do
        run.answer = problem(status, reason)
        run.execute()
        run.is_ended_with(status)
      end
    end)

    it("gets 500 where Kong does not know nobody, and the log says so", function()
      gateway.consumers = {}
      run.answer = problem(401, "no_credential")
      run.execute()
      run.is_ended_with(500)
      assert.matches("anonymous consumer 'nobody' is configured but does not exist", run.logged())
    end)

    it("gets 503 where Kong cannot look, and the log says so", function()
      _G.kong.cache.get = function()
        return nil, "the database is down"
      end
      run.answer = problem(401, "no_credential")
      run.execute()
      run.is_ended_with(503)
      assert.matches("could not be loaded: the database is down", run.logged())
    end)

    it("is nobody's matter where another plugin has let it pass", function()
      gateway.credential = { id = "key-1" }
      run.execute({ ["x-consumer-id"] = "of another plugin", ["x-credential-identifier"] = "of another plugin",
        ["x-consumer-custom-id"] = false, ["x-consumer-username"] = false, ["x-anonymous-consumer"] = false })
      assert.same({}, run.asked)
      assert.is_nil(gateway.answer)
      assert.is_nil(gateway.authenticated)
      run.shows_no_evil()
      assert.equal("of another plugin", gateway.upstream["x-consumer-id"])
      assert.equal("of another plugin", gateway.upstream["x-credential-identifier"])
      assert.equal("Bearer secret", gateway.upstream.authorization)
    end)

    it("is judged all the same where it has a good credential", function()
      run.execute()
      assert.equal("app-1", gateway.upstream["x-application-id"])
      assert.is_nil(gateway.upstream["x-anonymous-consumer"])
    end)
  end)

  it("is judged though another plugin let it pass, where nobody may pass as nobody", function()
    gateway.credential = { id = "key-1" }
    run.answer = problem(403, "not_registered")
    run.execute()
    run.is_ended_with(403)
  end)

  describe("of OPTIONS", function()
    before_each(function()
      gateway.method = "OPTIONS"
    end)

    it("is judged like any other", function()
      run.answer = problem(401, "no_credential")
      run.execute()
      run.is_ended_with(401)
    end)

    it("passes unasked where the operator says so, as nobody at all", function()
      conf.run_on_preflight = false
      run.execute()
      assert.same({}, run.asked)
      assert.is_nil(gateway.authenticated)
      assert.same({ accept = "*", cookie = "a=1" }, gateway.upstream)
    end)

    it("alone passes unasked", function()
      conf.run_on_preflight = false
      run.answer = problem(401, "no_credential")
      for _, method in ipairs { "GET", "options", "POST", "HEAD" } do
        gateway.method = method
        run.execute()
        run.is_ended_with(401)
      end
    end)
  end)

  describe("with a consumer", function()
    before_each(function()
      conf.consumer_by, conf.consumer_optional = "custom_id", false
      gateway.consumers["app-1"] = { id = "id-1", custom_id = "app-1" }
    end)

    it("goes upstream as that one", function()
      run.execute()
      assert.equal("id-1", gateway.upstream["x-consumer-id"])
      assert.equal("app-1", gateway.upstream["x-consumer-custom-id"])
      assert.is_nil(gateway.upstream["x-consumer-username"])
      assert.same({ consumer = gateway.consumers["app-1"], credential = { id = "client-1", consumer_id = "id-1" } },
        gateway.authenticated)
      assert.equal("id-1", run.known().consumer_id)
    end)

    it("that is missing gets 403, and the log says so", function()
      gateway.consumers = {}
      run.execute()
      run.is_ended_with(403)
      assert.equal("denied", run.known().outcome)
      assert.matches("^notice: denied: no consumer with the custom_id of application app%-1", run.logged())
    end)

    it("that may be missing passes without one", function()
      gateway.consumers, conf.consumer_optional = {}, true
      run.execute()
      assert.is_nil(gateway.answer)
      assert.is_nil(gateway.upstream["x-consumer-id"])
      assert.same({ credential = { id = "client-1" } }, gateway.authenticated)
    end)

    it("that cannot be looked up gets 503, whether it may be missing or not", function()
      _G.kong.cache.get = function()
        return nil, "the database is down"
      end
      for _, optional in ipairs { true, false } do
        conf.consumer_optional = optional
        run.execute()
        run.is_ended_with(503)
        assert.matches("the consumer could not be looked up: the database is down", run.logged())
      end
    end)
  end)

  describe("with a minted token", function()
    before_each(function()
      conf.forward_minted_token = true
      run.answer = allowed("client_credentials", "X-Access-Token: minted\r\nCache-Control: no-store\r\n")
    end)

    it("reaches the upstream with it in the place of its secret", function()
      for _, hide in ipairs { true, false } do
        conf.hide_credentials = hide
        run.execute({ authorization = "Basic secret" })
        assert.equal("Bearer minted", gateway.upstream.authorization)
        assert.is_nil(gateway.upstream["x-access-token"])
        assert.is_nil(run.logged():find("minted", 1, true))
        for _, value in pairs(run.known()) do
          assert.is_nil(tostring(value):find("minted", 1, true))
        end
      end
    end)

    it("that is missing gets 503, and the log says so", function()
      run.answer = allowed("client_credentials")
      run.execute({ authorization = "Basic secret" })
      run.is_ended_with(503)
      assert.matches("the sidecar gave no minted token", run.logged())
    end)

    it("needs none by another method", function()
      for _, method in ipairs { "bearer", "session" } do
        run.answer = allowed(method)
        run.execute()
        assert.is_nil(gateway.answer)
        assert.is_nil(gateway.upstream.authorization)
      end
    end)

    it("never gets it where the operator does not say so", function()
      conf.forward_minted_token = false
      run.execute({ authorization = "Basic secret" })
      assert.is_nil(gateway.upstream.authorization)
    end)

    it("gets its own, whatever is cached", function()
      conf.decision_cache_ttl_s = 60
      for at = 1, 3 do
        run.answer = allowed("client_credentials",
          "X-Access-Token: minted-" .. at .. "\r\nCache-Control: max-age=60\r\n")
        run.execute({ authorization = "Basic secret" })
        assert.equal("Bearer minted-" .. at, gateway.upstream.authorization)
        assert.is_false(run.known().cached)
      end
    end)
  end)

  it("keeps its credential where the operator says so", function()
    conf.hide_credentials = false
    run.execute()
    assert.equal("Bearer secret", gateway.upstream.authorization)
    assert.equal("a=1; __Host-session=secret", gateway.upstream.cookie)
    run.shows_no_evil()
  end)

  it("gets the session that it opened, on its response", function()
    run.answer = allowed("session", "Set-Cookie: __Host-session=new; Secure\r\nX-Session-Id: s-1\r\n")
    run.execute()
    run.pass_on()
    assert.same({ "__Host-session=new; Secure" }, gateway.response["set-cookie"])
    assert.same({
      outcome = "allowed", status = 200, strategy = "azure", service = "orders", application_id = "app-1",
      application_name = "Orders", credential_identifier = "client-1", auth_method = "session", session_id = "s-1",
      cached = false, latency_ms = 13,
    }, run.known())
    assert.is_nil(gateway.upstream["x-session-id"])
  end)

  it("is answered by what is known of its credential, and says so", function()
    conf.decision_cache_ttl_s = 60
    run.answer = allowed("bearer", "Cache-Control: max-age=30\r\nX-Claim: acme\r\nSet-Cookie: s=1\r\n")
    run.execute()
    assert.is_false(run.known().cached)
    _G.ngx.ctx = {}
    run.execute()
    assert.equal(1, #run.asked)
    assert.is_true(run.known().cached)
    assert.equal(0, run.known().latency_ms)
    assert.equal("acme", gateway.upstream["x-claim"])
    run.pass_on()
    assert.same({}, gateway.response)
    run.answer = problem(401, "token_expired")
    run.execute({ authorization = "Bearer another" })
    run.is_ended_with(401)
    gateway.time = gateway.time + 30
    run.execute()
    run.is_ended_with(401)
    assert.equal(3, #run.asked)
  end)
end)
