-- Promise: the question is the client's own credential and no more, and of several sidecars the first that decides has
-- decided, within one deadline.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local PATH = "/v1/authorize/s/v"

describe("a sidecar", function()
  local gateway, sidecar, health, asked, plays, conf

  before_each(function()
    gateway = gateways.start()
    asked, plays = {}, {}
    conf = { timeout_ms = 1000 }
    local loaded
    sidecar, loaded = fresh("sidecar", { exchange = { ask = function(given_conf, target, request, deadline)
      assert.equal(conf, given_conf)
      asked[#asked + 1] = { url = target.url, request = request, at = gateway.time, deadline = deadline }
      local play = plays[target.url]
      if type(play) == "function" then
        return play()
      end
      if play == "stalls" then
        gateway.time = deadline
        return nil, "receiving failed: timeout"
      end
      if type(play) == "string" then
        return nil, play
      end
      return play
    end } })
    health = loaded.health
  end)

  after_each(gateways.stop)

  local function targets(count)
    local found = {}
    for at = 1, count do
      local url = ("abcdefghi"):sub(at, at)
      found[at] = { url = url, host_header = url .. ":8100", health = health.new() }
    end
    return found
  end

  local function urls()
    local found = {}
    for at, one in ipairs(asked) do
      found[at] = one.url
    end
    return table.concat(found)
  end

  local function ask(given, question, limit_ms)
    asked = {}
    return sidecar.ask(conf, given, question or { path = PATH }, limit_ms)
  end

  describe("gets a request", function()
    for name, case in pairs {
      ["without a credential"] = { {}, "" },
      ["with the Authorization alone"] = { { authorization = "Bearer t" }, "Authorization: Bearer t\r\n" },
      ["with the cookie alone"] = { { cookie = "s=1; s=2" }, "Cookie: s=1; s=2\r\n" },
      ["with the traceparent last"] = { { authorization = "Basic x", traceparent = "00-1" },
        "Authorization: Basic x\r\ntraceparent: 00-1\r\n" },
      ["with a traceparent behind the cookie"] = { { cookie = "s=1", traceparent = "00-1" },
        "Cookie: s=1\r\ntraceparent: 00-1\r\n" },
    } do
      it(name, function()
        case[1].path = PATH
        for count = 1, 2 do
          plays.a = { status = 403 }
          assert.equal(plays.a, (ask(targets(count), case[1])))
          assert.equal(1, #asked)
          assert.equal("GET /v1/authorize/s/v HTTP/1.1\r\nHost: a:8100\r\n" .. case[2] .. "\r\n", asked[1].request)
        end
      end)
    end
  end)

  it("is never given what could end a line", function()
    for code = 0, 255 do
      local unsafe = code < 32 and code ~= 9 or code == 127
      assert.equal(unsafe, sidecar.unsafe("Bearer a" .. string.char(code)), code)
    end
    assert.is_false(sidecar.unsafe(""))
  end)

  it("is never given what could not be looked through", function()
    _G.ngx.re.find = function()
      return nil, nil, "pcre_exec() failed: -8"
    end
    assert.is_true(fresh("sidecar", { exchange = {} }).unsafe("Bearer a"))
  end)

  it("has timeout_ms, and no longer than its caller can wait", function()
    for _, case in ipairs { { nil, 1 }, { 50, 0.05 }, { 5000, 1 } } do
      for count = 1, 2 do
        plays.a, plays.b = "refused", { status = 200 }
        ask(targets(count), nil, case[1])
        assert.near(gateway.time + case[2], asked[#asked].deadline, 0.0001)
      end
    end
  end)

  it("that is alone is asked every time, however often it failed", function()
    local alone = targets(1)
    plays.a = "connecting failed: connection refused"
    for _ = 1, 10 do
      local reply, err = ask(alone)
      assert.is_nil(reply)
      assert.equal("a: connecting failed: connection refused", err)
      assert.equal("a", urls())
    end
  end)

  it("that is alone has decided, whatever it says", function()
    for _, status in ipairs { 200, 401, 403, 404, 429, 503 } do
      plays.a = { status = status }
      assert.equal(plays.a, (ask(targets(1))))
    end
  end)

  describe("of several", function()
    it("is asked in the order written, and nobody after the one that decides", function()
      for _, status in ipairs { 200, 401, 403, 429 } do
        plays = { a = { status = status }, b = { status = 200 }, c = { status = 200 } }
        assert.equal(plays.a, (ask(targets(3))))
        assert.equal("a", urls())
        plays = { a = "refused", b = { status = status }, c = { status = 200 } }
        assert.equal(plays.b, (ask(targets(3))))
        assert.equal("ab", urls())
      end
    end)

    it("that knows no strategy or can ask nobody is not the last word", function()
      for _, status in ipairs { 404, 503 } do
        plays = { a = { status = status }, b = { status = 403 } }
        assert.equal(plays.b, (ask(targets(2))))
        assert.equal("ab", urls())
      end
    end)

    it("gives the last undecided reply where nobody decides", function()
      plays = { a = { status = 404 }, b = { status = 503 }, c = { status = 503 } }
      assert.equal(plays.c, (ask(targets(3))))
      plays = { a = { status = 503 }, b = "refused" }
      assert.equal(plays.a, (ask(targets(2))))
      plays = { a = "refused", b = { status = 404 } }
      assert.equal(plays.b, (ask(targets(2))))
    end)

    it("gives no reply where nobody has one, and says why", function()
      plays = { a = "refused", b = "the reply is not well-formed: status 418" }
      local reply, err = ask(targets(2))
      assert.is_nil(reply)
      assert.equal("b: the reply is not well-formed: status 418", err)
      assert.equal("ab", urls())
    end)

    it("is asked once for a request", function()
      local some = targets(3)
      plays = { a = "refused", b = { status = 503 }, c = "refused" }
      for _ = 1, 5 do
        ask(some)
        assert.equal(3, #asked)
        local seen = {}
        for _, one in ipairs(asked) do
          assert.is_nil(seen[one.url])
          seen[one.url] = true
        end
      end
    end)

    it("never makes a request wait beyond the deadline of all", function()
      for count = 2, 9 do
        for at = 1, count do
          plays[("abcdefghi"):sub(at, at)] = "stalls"
        end
        local some = targets(count)
        for _ = 1, 4 do -- up, and resting
          local began = gateway.time
          assert.is_nil((ask(some)))
          assert.is_true(gateway.time <= began + 1.0001)
          for _, one in ipairs(asked) do
            assert.is_true(one.deadline <= began + 1.0001)
          end
        end
      end
    end)

    it("is not asked when one before it has used up all of the time", function()
      for rest = 1, 2 do
        local some = targets(3)
        if rest == 2 then
          health.bad(some[2].health, gateway.time)
          health.bad(some[3].health, gateway.time)
        end
        plays = { b = { status = 200 }, c = { status = 200 }, a = function()
          gateway.time = gateway.time + 1 -- the worker was busy with something else
          return nil, "receiving failed: timeout"
        end }
        local reply, err = ask(some)
        assert.is_nil(reply)
        assert.equal("a: receiving failed: timeout", err)
        assert.equal("a", urls())
      end
    end)

    it("has half of what is left, and the last one all of it", function()
      plays = { a = "stalls", b = "stalls", c = { status = 403 } }
      local began = gateway.time
      assert.equal(plays.c, (ask(targets(3))))
      assert.near(began + 0.5, asked[1].deadline, 0.0001)
      assert.near(began + 0.75, asked[2].deadline, 0.0001)
      assert.near(began + 1, asked[3].deadline, 0.0001)
    end)

    it("leaves half of the time also for one that rests", function()
      local some = targets(2)
      health.bad(some[2].health, gateway.time)
      plays = { a = "stalls", b = { status = 403 } }
      local began = gateway.time
      assert.equal(plays.b, (ask(some)))
      assert.near(began + 0.5, asked[1].deadline, 0.0001)
      assert.near(began + 1, asked[2].deadline, 0.0001)
    end)

    it("is passed over after it failed, and comes back by one good answer", function()
      local some = targets(2)
      plays = { a = "refused", b = { status = 200 } }
      ask(some)
      assert.equal("ab", urls())
      ask(some)
      assert.equal("b", urls())
      gateway.time = gateway.time + 1
      plays.a = { status = 200 }
      assert.equal(plays.a, (ask(some)))
      assert.equal("a", urls())
      ask(some)
      assert.equal("a", urls())
    end)

    it("is tried by one request when its rest is over, while the others go on without it", function()
      local some = targets(2)
      plays = { a = "refused", b = { status = 200 } }
      ask(some)
      gateway.time = gateway.time + 1
      local meanwhile
      plays.a = function()
        plays.a = { status = 200 } -- whoever else asked it now would be answered
        local own = asked
        ask(some)
        meanwhile, asked = urls(), own
        return plays.a
      end
      ask(some)
      assert.equal("a", urls())
      assert.equal("b", meanwhile)
    end)

    it("rests for 10 s at the most", function()
      local some = targets(2)
      plays = { a = "refused", b = { status = 200 } }
      for _ = 1, 20 do
        ask(some)
        gateway.time = gateway.time + 10
      end
      ask(some)
      assert.equal("ab", urls())
    end)

    it("is asked though it rests where all of them do", function()
      local some = targets(3)
      plays = { a = "refused", b = "refused", c = "refused" }
      ask(some)
      plays = { a = "refused", b = { status = 403 }, c = { status = 200 } }
      assert.equal(plays.b, (ask(some)))
      assert.equal("ab", urls())
    end)

    it("is asked though it rests where the others do not decide", function()
      local some = targets(2)
      health.bad(some[1].health, gateway.time)
      for _, undecided in ipairs { { status = 503 }, { status = 404 }, "refused" } do
        plays = { a = { status = 403 }, b = undecided }
        health.good(some[2].health)
        health.bad(some[1].health, gateway.time)
        assert.equal(plays.a, (ask(some)))
        assert.equal("ba", urls())
      end
    end)

    it("is in good health with any reply, and so is no decision a failure", function()
      local some = targets(2)
      plays = { a = { status = 503 }, b = { status = 200 } }
      for _ = 1, 3 do
        ask(some)
        assert.equal("ab", urls())
      end
    end)

    it("is news to the operator once, without what was sent", function()
      local some = targets(2)
      plays = { a = "refused", b = "refused" }
      for _ = 1, 3 do
        ask(some, { path = PATH, authorization = "Bearer secret" })
      end
      assert.same({
        "warn: a sidecar is passed over for now: a: refused", "warn: a sidecar is passed over for now: b: refused",
      }, gateway.log)
    end)
  end)
end)
