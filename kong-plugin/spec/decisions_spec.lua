-- Promise: what comes out of Kong's cache is judged like what comes off the wire, for whom and as long as it was
-- stored, and nothing stale is an answer.

local load_fresh = require "spec.fresh"
local gateways = require "spec.gateway"
local replies = require "kong.plugins.credential-validator.reply"

local NOW = 1000
local DENIED = "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ncached"
local ALLOWED = "HTTP/1.1 200 OK\r\nX-Application-Id: app-1\r\nX-Application-Name: Orders\r\n"
  .. "X-Credential-Identifier: orders-mobile\r\nX-Auth-Method: client_credentials\r\nX-Claim: acme\r\n"
  .. "Cache-Control: private, max-age=30\r\nContent-Length: 0\r\n\r\n"

describe("a decision", function()
  local gateway, cache, decisions, names, asked, fresh, fresh_err, limit, digests, unsafe, settings

  before_each(function()
    gateway = gateways.start()
    gateway.time = NOW
    asked, cache = 0, {}
    fresh, fresh_err = { status = 200, max_age = 0, body = "fresh", identity = {} }, nil
    _G.kong.cache = cache
    digests, unsafe = true, false
    local digest = gateway.sha256.new()
    local update = digest.update
    function digest.update(...)
      update(...)
      return digests
    end
    local loaded
    decisions, loaded = load_fresh("decisions", {
      ["resty.sha256"] = { new = function()
        return digest
      end },
      sidecar = {
        ask = function(_, targets, _, limit_ms)
          assert.equal("targets", targets)
          asked, limit = asked + 1, limit_ms
          gateway.time = gateway.time + (gateway.asking or 0)
          return fresh, fresh_err
        end,
        unsafe = function()
          return unsafe
        end,
      },
    })
    names = loaded.identity.names
    settings = { scope = "p1", names = names(), targets = "targets" }
  end)

  after_each(gateways.stop)

  local function question(given)
    given = given or { authorization = "Bearer secret" }
    given.path = given.path or "/v1/authorize/plain/orders"
    given.received = {}
    return given
  end

  local function get(ttl, given)
    return decisions.get({ decision_cache_ttl_s = ttl or 60, timeout_ms = 3000 }, settings, question(given))
  end

  -- The cache answers this without asking anybody.
  local function holds(value, level)
    cache.get = function()
      return value, nil, level
    end
  end

  -- The cache holds nothing yet; returns what it stores.
  local function stores()
    local stored = { count = 0 }
    cache.get = function(_, key, _, callback, ...)
      local value, err, ttl = callback(...)
      stored.key, stored.value, stored.err, stored.ttl, stored.count = key, value, err, ttl, stored.count + 1
      return value, err, 3
    end
    return stored
  end

  local function parsed(bytes)
    return assert(replies.parse(bytes))
  end

  it("that is held and has time left is the answer, and says that nobody was asked", function()
    holds("1000.001\n" .. DENIED, 1)
    local given = { authorization = "Bearer secret" }
    local reply, err = get(60, given)
    assert.equal("cached", reply.body)
    assert.is_nil(err)
    assert.is_true(given.cached)
    assert.equal(0, asked)
  end)

  for name, held in pairs {
    ["has no time left"] = { "1000.000\n" .. DENIED, 1 },
    ["has more time than is configured, or a clock that was set back"] = { "1060.500\n" .. ALLOWED, 1 },
    ["is long past"] = { "1.000\n" .. ALLOWED, 1 },
    ["Kong calls stale"] = { "1030.000\n" .. DENIED, 4 },
    ["allows and Kong calls stale"] = { "1030.000\n" .. ALLOWED, 4 },
    ["has no time at all"] = { DENIED, 1 },
    ["has a time that is none"] = { "inf\n" .. DENIED, 1 },
    ["has a time with more behind it"] = { "1030.000 \n" .. DENIED, 1 },
    ["has a time before zero"] = { "-1030.000\n" .. DENIED, 1 },
    ["is no text"] = { { status = 200 }, 1 },
    ["is a reply without its time"] = { { { status = 200 } }, 1 },
    ["is a reply with no number for its time"] = { { { status = 200 }, "1030" }, 1 },
    ["is a number"] = { 7, 1 },
    ["is true"] = { true, 1 },
    ["is nothing"] = { nil, 1 },
    ["is empty"] = { "", 1 },
    ["is half a reply"] = { "1030.000\n" .. DENIED:sub(1, -2), 1 },
    ["is more than a reply"] = { "1030.000\n" .. DENIED .. "x", 1 },
    ["allows nobody"] = { "1030.000\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1 },
    ["says to ask"] = { "ask", 1 },
  } do
    it("that " .. name .. " is asked for again", function()
      holds(held[1], held[2])
      local given = { authorization = "Bearer secret" }
      assert.equal(fresh, (get(60, given)))
      assert.is_nil(given.cached)
      assert.equal(1, asked)
    end)
  end

  it("is read once for all its hits", function()
    local held
    cache.get = function(_, _, options)
      held = held or options.l1_serializer("1000.001\n" .. DENIED)
      return held, nil, 1
    end
    local first = get()
    assert.equal("cached", first.body)
    assert.equal(first, get())
    assert.equal(0, asked)
  end)

  it("that was read once is asked for again when its time is up", function()
    local held
    cache.get = function(_, _, options)
      held = held or options.l1_serializer("1001.000\n" .. DENIED)
      return held, nil, 1
    end
    assert.equal("cached", get().body)
    gateway.time = 1000.999
    assert.equal("cached", get().body)
    gateway.time = 1001
    assert.equal(fresh, get())
    assert.equal(1, asked)
  end)

  it("is no error of the cache, whatever it holds", function()
    cache.get = function(_, _, options)
      for _, value in ipairs { "ask", "1030.000\n", "1030.000\n" .. DENIED:sub(1, -2), 7, true } do
        assert.equal(value, options.l1_serializer(value))
      end
      return nil, nil, 1
    end
    assert.equal(fresh, get())
  end)

  it("never waits on Kong's defaults, and its key holds no credential", function()
    for _, given in ipairs { { authorization = "Bearer secret" }, { cookie = "__Host-session=secret" } } do
      local key, options
      cache.get = function(_, given_key, given_options)
        key, options = given_key, given_options
        return nil, "enough"
      end
      get(60, given)
      assert.is_nil(key:find("secret", 1, true))
      assert.equal("credential-validator:p1:/v1/authorize/plain/orders:", key:match("^.*orders:"))
      assert.is_true(options.ttl > 0 and options.ttl <= 1)
      assert.is_true(options.neg_ttl > 0 and options.neg_ttl <= 1)
      assert.equal(0.001, options.resurrect_ttl)
    end
  end)

  it("is under a key of its own for everything that it depends on, and for nothing else", function()
    local key
    cache.get = function(_, given_key)
      key = given_key
      return nil, "enough"
    end
    local seen = {}
    for _, instance in ipairs { "p1", "p2" } do
      settings.scope = instance
      for _, path in ipairs { "/v1/authorize/a/orders", "/v1/authorize/a,b/orders", "/v1/authorize/a/x" } do
        for _, given in ipairs {
          {}, { authorization = "" }, { authorization = "s=1" }, { cookie = "s=1" }, { authorization = "s=2" },
          { cookie = "s=2" }, { authorization = "S=1" }, { authorization = "s=1 " }, { cookie = "s=1; s=1" },
          { authorization = "session" }, { authorization = "none" }, { authorization = "s=1", cookie = "s=1" },
          { authorization = "s=1s=1" }, { authorization = "s=1s", cookie = "=1" },
          { authorization = "", cookie = "s=1" },
          { authorization = "s=1", cookie = "s=2" }, { authorization = "s=2", cookie = "s=1" },
        } do
          given.path = path
          get(60, given)
          assert.is_nil(seen[key], key)
          seen[key] = true
          local before = key
          given.traceparent = "00-1"
          get(60, given)
          assert.equal(before, key)
        end
      end
    end
    assert.equal(0, asked)
  end)

  it("is asked for every time where there is no digest", function()
    digests = false
    cache.get = function()
      error("the cache was used")
    end
    assert.equal(fresh, get())
  end)

  it("is asked for every time where no instance tells its key from another's", function()
    settings.scope = nil
    cache.get = function()
      error("the cache was used")
    end
    assert.equal(fresh, get())
  end)

  it("is asked for every time where the cache is off", function()
    cache.get = function()
      error("the cache was used")
    end
    for _ = 1, 2 do
      local reply, err, cached = get(0)
      assert.equal(fresh, reply)
      assert.is_nil(err)
      assert.is_nil(cached)
      assert.is_nil(limit)
    end
    assert.equal(2, asked)
  end)

  it("over a credential that could end a line is a refusal, which nobody is asked about and nobody keeps", function()
    unsafe = true
    cache.get = function(_, _, _, callback, ...)
      local value, err = callback(...)
      assert.is_nil(value)
      assert.is_string(err) -- what Kong's cache does not keep
      return nil, err
    end
    for ttl = 0, 60, 60 do
      local reply = get(ttl)
      assert.equal(401, reply.status)
      assert.matches("malformed_credential", reply.body)
    end
    assert.equal(0, asked)
  end)

  it("is none when the cache fails", function()
    cache.get = function()
      return nil, "could not acquire callback lock: timeout"
    end
    local reply, err = get()
    assert.is_nil(reply)
    assert.matches("lock: timeout", err)
    assert.equal(0, asked)
  end)

  it("is none when the cache fails, whatever it hands out with its error", function()
    cache.get = function()
      return "1030.000\n" .. ALLOWED, "broken", 1
    end
    assert.is_nil((get()))
  end)

  it("is none when the sidecar fails, and that is kept from nobody", function()
    fresh, fresh_err = nil, "timeout"
    local stored = stores()
    local reply, err = get()
    assert.is_nil(reply)
    assert.equal("timeout", err)
    assert.equal("ask", stored.value)
    assert.equal(1, stored.ttl)
  end)

  for name, case in pairs {
    ["the sidecar's max-age"] = { 60, 30, 30 }, ["the operator's bound"] = { 10, 30, 10 },
    ["half a second"] = { 0.5, 30, 0.5 },
  } do
    it("is stored for no longer than " .. name, function()
      for _, status in ipairs { 200, 401, 403, 429 } do
        local stored = stores()
        fresh = parsed(status == 200 and ALLOWED or (DENIED:gsub("403", status)))
        fresh.max_age, fresh.set_cookies = case[2], { "a=secret" }
        local reply, _, cached = get(case[1])
        assert.equal(fresh, reply)
        assert.is_nil(cached)
        assert.equal(case[3], stored.ttl)
        assert.equal(("%.3f"):format(NOW + case[3]), stored.value:match("^[^\n]+"))
        assert.is_nil(stored.value:find("secret", 1, true))
        assert.is_true(limit < 5000) -- for so long Kong lets others wait
      end
    end)
  end

  it("is as old as its question, not as its answer", function()
    local stored = stores()
    fresh.max_age = 30
    gateway.asking = 0.75
    get(1)
    assert.near(0.25, stored.ttl, 0.001)
    assert.equal("1001.000", stored.value:match("^[^\n]+"))
    fresh.max_age, gateway.asking = 30, 1
    get(1)
    assert.equal("ask", stored.value)
  end)

  it("leaves who waited for another's question no more than the rest of the time", function()
    local waited = 2.5
    cache.get = function()
      gateway.time = gateway.time + waited
      return "ask", nil, 1
    end
    get()
    assert.near(500, limit, 1)
    waited, asked = 3, 0
    assert.is_nil((get()))
    assert.equal(0, asked)
  end)

  it("with less time than the cache can count is for the one who asked alone", function()
    local stored = stores()
    fresh.max_age, gateway.asking = 30, 0.9995
    get(1)
    assert.equal("ask", stored.value)
  end)

  it("is the same for the next request, but for the cookies", function()
    local stored = stores()
    fresh = parsed((ALLOWED:gsub("Content%-Length", "Set-Cookie: a=1\r\nContent-Length")))
    assert.same({ "a=1" }, get().set_cookies)
    holds(stored.value, 1)
    local reply = get()
    assert.equal(200, reply.status)
    assert.same(fresh.identity, reply.identity)
    assert.same({ ["x-claim"] = "acme" }, reply.others)
    assert.is_nil(reply.set_cookies)
    assert.equal(1, asked)
  end)

  for name, change in pairs {
    ["holds a minted token"] = function(reply)
      reply.access_token = "minted"
    end,
    ["may not be stored"] = function(reply)
      reply.max_age = 0
    end,
    ["says no age"] = function(reply)
      reply.max_age = nil
    end,
    ["is a 404"] = function(reply)
      reply.status = 404
    end,
    ["is a 503"] = function(reply)
      reply.status = 503
    end,
  } do
    it("that " .. name .. " is for the one who asked alone", function()
      local stored = stores()
      fresh = parsed(ALLOWED)
      change(fresh)
      local reply, _, cached = get()
      assert.equal(fresh, reply)
      assert.is_nil(cached)
      assert.equal("ask", stored.value)
      assert.equal(1, stored.ttl)
      holds(stored.value, 1)
      assert.equal(fresh, get())
      assert.equal(2, asked)
    end)
  end

  for _, ttl in ipairs { 0, 60 } do
    it("is none where a header that the upstream trusts is unfit, with a cache of " .. ttl .. " s", function()
      local stored = stores()
      settings.names = names({ "X-Claim", "X-Other" })
      fresh = parsed((ALLOWED:gsub("X%-Claim: acme", "X-Claim: acme\r\nx-claim: evil")))
      local reply, err = get(ttl)
      assert.is_nil(reply)
      assert.equal("the reply is not well-formed: a repeated or oversized X-Claim", err)
      assert.is_true(stored.value == nil or stored.value == "ask")
    end)
  end

  it("is one all the same where the unfit header means nothing to the configuration", function()
    fresh = parsed((ALLOWED:gsub("X%-Claim: acme", "X-Claim: acme\r\nx-claim: evil")))
    assert.equal(fresh, get(0))
  end)
end)
