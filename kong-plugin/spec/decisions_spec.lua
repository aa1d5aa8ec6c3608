-- Promise: what comes out of Kong's cache is judged like what comes off the wire, and nothing stale is an answer.

local MODULE = "kong.plugins.credential-validator.decisions"
local SIDECAR = "kong.plugins.credential-validator.sidecar"

local NOW = 1000
local DENIED = "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ncached"

describe("a decision", function()
  local decisions, cache, asked, fresh, limit, digests, unsafe

  local function get(conf)
    conf = conf or {}
    conf.decision_cache_ttl_s = conf.decision_cache_ttl_s or 60
    conf.__plugin_id = conf.__plugin_id or "p1"
    conf.session_cookie_name = "__Host-session"
    return decisions.get(conf, "/v1/authorize/plain/orders", "Bearer secret", "a=1; __Host-session=s")
  end

  -- The cache answers this without asking anybody.
  local function holds(value, level)
    cache.get = function()
      return value, nil, level
    end
  end

  before_each(function()
    asked, cache, fresh = 0, {}, { status = 200, max_age = 0, body = "fresh" }
    _G.ngx = { now = function()
      return NOW
    end }
    _G.kong = { cache = cache }
    digests, unsafe = true, false
    local hashed
    package.loaded["resty.sha256"] = { new = function()
      return {
        reset = function()
          hashed = ""
          return true
        end,
        update = function(_, text)
          hashed = hashed .. text
          return digests
        end,
        final = function()
          return "\1" .. #hashed
        end,
      }
    end }
    package.loaded[SIDECAR] = {
      ask = function(_, _, _, _, limit_ms)
        asked, limit = asked + 1, limit_ms
        return fresh
      end,
      unsafe = function()
        return unsafe
      end,
    }
    package.loaded[MODULE] = nil
    decisions = require(MODULE)
  end)

  after_each(function()
    package.loaded[MODULE], package.loaded[SIDECAR], package.loaded["resty.sha256"] = nil, nil, nil
    _G.kong, _G.ngx = nil, nil
  end)

  it("that is held and has time left is the answer", function()
    holds("1000.001\n" .. DENIED, 1)
    assert.equal("cached", get().body)
    assert.equal(0, asked)
  end)

  for name, held in pairs {
    ["has no time left"] = { "1000.000\n" .. DENIED, 1 },
    ["Kong calls stale"] = { "2000.000\n" .. DENIED, 4 },
    ["has no time at all"] = { DENIED, 1 },
    ["is no text"] = { { status = 200 }, 1 },
    ["is nothing"] = { nil, 1 },
    ["is half a reply"] = { "2000.000\n" .. DENIED:sub(1, -2), 1 },
    ["is more than a reply"] = { "2000.000\n" .. DENIED .. "x", 1 },
    ["allows nobody"] = { "2000.000\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1 },
    ["says to ask"] = { "ask", 1 },
  } do
    it("that " .. name .. " is asked for again", function()
      holds(held[1], held[2])
      assert.equal(fresh, get())
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
      held = held or options.l1_serializer(("%d.000\n"):format(NOW) .. DENIED)
      return held, nil, 1
    end
    assert.equal(fresh, get())
    assert.equal(1, asked)
  end)

  it("is no error of the cache, whatever it holds", function()
    cache.get = function(_, _, options)
      for _, value in ipairs { "ask", "2000.000\n", "2000.000\n" .. DENIED:sub(1, -2), 7, true } do
        assert.equal(value, options.l1_serializer(value))
      end
      return nil, nil, 1
    end
    assert.equal(fresh, get())
  end)

  it("is asked for every time where there is no digest", function()
    digests = false
    cache.get = function()
      error("the cache was used")
    end
    assert.equal(fresh, get())
  end)

  it("over a credential that could end a line is a refusal, which nobody is asked about and nobody keeps", function()
    unsafe = true
    cache.get = function(_, _, _, callback, ...)
      local value, err = callback(...)
      assert.is_nil(value)
      return nil, err
    end
    for ttl = 0, 60, 60 do
      assert.matches("malformed_credential", get({ decision_cache_ttl_s = ttl }).body)
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

  it("never waits on Kong's defaults, and its key holds no credential", function()
    local key, options
    cache.get = function(_, given_key, given_options)
      key, options = given_key, given_options
      return nil, "enough"
    end
    get()
    assert.equal("credential-validator:p1:/v1/authorize/plain/orders:13:\1" .. #"Bearer secret__Host-session=s", key)
    assert.is_true(options.ttl > 0)
    assert.is_true(options.neg_ttl > 0)
    assert.equal(0.001, options.resurrect_ttl)
  end)

  for name, case in pairs {
    ["the sidecar's max-age"] = { 60, 30, 30 }, ["the operator's bound"] = { 10, 30, 10 },
  } do
    it("is stored for no longer than " .. name, function()
      local value, ttl
      cache.get = function(_, _, _, callback, ...)
        local err
        value, err, ttl = callback(...)
        return value, err, 3
      end
      fresh = { status = 403, max_age = case[2], body = "fresh", set_cookies = { "a=1" } }
      assert.equal(fresh, get({ decision_cache_ttl_s = case[1] }))
      assert.equal(case[3], ttl)
      assert.equal(("%.3f"):format(NOW + case[3]), value:match("^[^\n]+"))
      assert.is_nil(value:find("a=1", 1, true))
      assert.is_true(limit < 5000) -- for so long Kong lets others wait
    end)
  end

  it("is asked for every time where the cache is off", function()
    cache.get = function()
      error("the cache was used")
    end
    assert.equal(fresh, get({ decision_cache_ttl_s = 0 }))
  end)
end)
