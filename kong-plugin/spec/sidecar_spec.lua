-- Promise: one question, one answer, one retry at most, and never a connection back into the pool whose state is in
-- doubt.

local MODULE = "kong.plugins.credential-validator.sidecar"
local REPLY = "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody"

describe("the sidecar", function()
  local sidecar, sockets, clock

  -- Each socket plays: reused, what receiving gives, what setkeepalive says.
  local function plan(...)
    local plays, opened = { ... }, 0
    sockets = {}
    _G.ngx = {
      re = {},
      now = function()
        return clock
      end,
      socket = { tcp = function()
        opened = opened + 1
        local play = assert(plays[opened], "one connection too many")
        local socket = { sent = {}, timeouts = {} }
        sockets[opened] = socket
        function socket:settimeouts(...)
          self.timeouts = { ... }
        end
        function socket:settimeout(ms)
          self.timeouts = { ms }
        end
        function socket:connect(...)
          local arguments = { ... }
          self.pool = arguments[#arguments].pool
          return not play.refused or nil, play.refused
        end
        function socket.getreusedtimes()
          return play.reused and 1 or 0
        end
        function socket:send(bytes)
          self.sent[#self.sent + 1] = bytes
          return not play.send_err and #bytes or nil, play.send_err
        end
        function socket.receiveany()
          clock = clock + (play.slow_s or 0)
          local piece = table.remove(play.pieces or {}, 1)
          return piece, not piece and (play.receive_err or "closed") or nil
        end
        function socket:setkeepalive()
          self.kept = not play.keep_err
          return self.kept or nil, play.keep_err
        end
        function socket:close()
          self.closed = true
        end
        return socket
      end },
    }
    package.loaded[MODULE] = nil
    sidecar = require(MODULE)
  end

  local function ask(limit_ms)
    return sidecar.ask({
      validator_url = "http://127.0.0.1:8100", timeout_ms = 1000, keepalive_idle_ms = 1, keepalive_pool_size = 1,
    }, "/v1/authorize/s/v", "Bearer t", nil, limit_ms)
  end

  before_each(function()
    clock = 1000
  end)

  after_each(function()
    package.loaded[MODULE], _G.ngx = nil, nil
  end)

  it("gets a request with the client's credential alone", function()
    plan({ pieces = { REPLY } })
    assert.equal(403, ask().status)
    assert.same({ "GET /v1/authorize/s/v HTTP/1.1\r\nHost: 127.0.0.1:8100\r\nAuthorization: Bearer t\r\n\r\n" },
      sockets[1].sent)
    assert.is_true(sockets[1].kept)
  end)

  it("is asked again on a fresh connection where a pooled one was stale", function()
    for _, stale in ipairs { { reused = true }, { reused = true, send_err = "closed" },
      { reused = true, send_err = "broken pipe" }, { reused = true, receive_err = "connection reset by peer" } } do
      plan(stale, { pieces = { REPLY } })
      assert.equal(403, ask().status)
      assert.is_true(sockets[1].closed)
      assert.are_not.equal(sockets[1].pool, sockets[2].pool)
      assert.is_true(sockets[2].closed) -- its pool would never be asked for again
    end
  end)

  for name, plays in pairs {
    ["a fresh connection fails"] = { {} },
    ["a byte has come"] = { { reused = true, pieces = { "H" } } },
    ["it is slow"] = { { reused = true, receive_err = "timeout" } },
    ["it is slow to take the request"] = { { reused = true, send_err = "timeout" } },
    ["it refuses the connection"] = { { refused = "connection refused" } },
    ["it answers garbage"] = { { reused = true, pieces = { "garbage" } } },
    ["the retry fails too"] = { { reused = true }, {} },
    ["the retry meets another stale connection"] = { { reused = true }, { reused = true } },
  } do
    it("is not asked again when " .. name, function()
      plan(unpack(plays))
      local reply, err = ask()
      assert.is_nil(reply)
      assert.is_string(err)
      assert.equal(#plays, #sockets)
      assert.is_nil(sockets[#sockets].kept)
    end)
  end

  it("has one deadline for all of a reply", function()
    plan({ pieces = { REPLY:sub(1, 9), REPLY:sub(10, 12), REPLY:sub(13) }, slow_s = 0.6 })
    local reply, err = ask()
    assert.is_nil(reply)
    assert.equal("receiving failed: timeout", err)
    assert.near(400, sockets[1].timeouts[1], 1)
  end)

  it("has no longer than its caller can wait", function()
    plan({ pieces = { REPLY } })
    ask(50)
    assert.near(50, sockets[1].timeouts[1], 1)
    plan({ pieces = { REPLY } })
    ask(5000)
    assert.near(1000, sockets[1].timeouts[1], 1)
  end)

  it("has lost its answer when more bytes follow than were declared", function()
    for _, err in ipairs { "unread data in buffer", "connection in dubious state" } do
      plan({ pieces = { REPLY }, keep_err = err })
      assert.is_nil((ask()))
    end
  end)

  it("has answered though its connection is gone", function()
    plan({ pieces = { REPLY }, keep_err = "closed" })
    assert.equal(403, ask().status)
  end)

  it("keeps no connection that it wants to close", function()
    plan({ pieces = { (REPLY:gsub("\r\n", "\r\nConnection: close\r\n", 1)) } })
    assert.equal(403, ask().status)
    assert.is_nil(sockets[1].kept)
    assert.is_true(sockets[1].closed)
  end)
end)
