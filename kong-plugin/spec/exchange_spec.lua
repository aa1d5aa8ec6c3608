-- Promise: one question, one answer, one retry at most, and never a connection back into the pool whose state is in
-- doubt.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local REPLY = "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody"
local ALLOWED = "HTTP/1.1 200 OK\r\nX-Application-Id: app-1\r\nX-Application-Name: Orders\r\n"
  .. "X-Credential-Identifier: orders-mobile\r\nX-Auth-Method: session\r\nX-Application-Groups: gold, internal\r\n"
  .. "Cache-Control: private, max-age=30\r\nSet-Cookie: __Host-session=a\r\nContent-Length: 2\r\n\r\nok"
local REQUEST = "GET / HTTP/1.1\r\n\r\n"

describe("an exchange", function()
  local gateway, exchange, sockets, plays, target, conf, shaken

  local function new_socket(play)
    local socket = { sent = {}, steps = {} }
    function socket:settimeouts(...)
      self.timeouts = { ... }
    end
    function socket:settimeout(ms)
      self.timeouts = { ms }
    end
    function socket:connect(...)
      local arguments = { ... }
      self.address = { unpack(arguments, 1, #arguments - 1) }
      self.pool = arguments[#arguments].pool
      self.connect_ms = self.timeouts[1]
      gateway.time = gateway.time + (play.connect_s or 0)
      return not play.refused or nil, play.refused
    end
    function socket.getreusedtimes()
      return play.reused and 1 or 0
    end
    function socket:send(bytes)
      self.sent[#self.sent + 1] = bytes
      self.send_ms = self.timeouts[2]
      return not play.send_err and #bytes or nil, play.send_err
    end
    function socket:receiveany()
      self.receive_ms = self.timeouts[1]
      gateway.time = gateway.time + (play.slow_s or 0)
      local piece = table.remove(play.pieces or {}, 1)
      return piece, not piece and (play.receive_err or "closed") or nil
    end
    function socket:setkeepalive(...)
      self.keepalive = { ... }
      self.kept = not play.keep_err
      return self.kept or nil, play.keep_err
    end
    function socket:close()
      self.closed = true
    end
    return socket
  end

  before_each(function()
    gateway = gateways.start()
    sockets, shaken = {}, {}
    _G.ngx.socket.tcp = function()
      local play = assert(plays[#sockets + 1], "one connection too many")
      sockets[#sockets + 1] = new_socket(play)
      return sockets[#sockets]
    end
    exchange = fresh("exchange", { tls = { handshake = function(sock, given_conf, name)
      assert.equal(conf, given_conf)
      shaken[#shaken + 1] = { sock = sock, name = name, ms = sock.timeouts[1] }
      local play = plays[#sockets]
      return not play.tls_err or nil, play.tls_err
    end } })
    target = { host = "10.0.0.1", port = 8100, pool = "pool" }
    conf = { keepalive_idle_ms = 2, keepalive_pool_size = 3 }
  end)

  after_each(gateways.stop)

  local function ask(...)
    plays, sockets = { ... }, {}
    return exchange.ask(conf, target, REQUEST, gateway.time + 1)
  end

  it("sends the question as it is, and keeps the connection", function()
    assert.equal(403, ask({ pieces = { REPLY } }).status)
    assert.same({ REQUEST }, sockets[1].sent)
    assert.same({ "10.0.0.1", 8100 }, sockets[1].address)
    assert.equal("pool", sockets[1].pool)
    assert.same({ 2, 3 }, sockets[1].keepalive)
    assert.is_nil(sockets[1].closed)
    assert.same({}, shaken)
  end)

  it("goes over a Unix socket where there is no port", function()
    target = { host = "unix:/run/data.sock", pool = "pool" }
    assert.equal(403, ask({ pieces = { REPLY } }).status)
    assert.same({ "unix:/run/data.sock" }, sockets[1].address)
    assert.equal("pool", sockets[1].pool)
  end)

  it("has one outcome wherever its reply is split", function()
    for _, whole in ipairs { REPLY, ALLOWED } do
      local expected = ask({ pieces = { whole } })
      for at = 1, #whole - 1 do
        assert.same(expected, (ask({ pieces = { whole:sub(1, at), whole:sub(at + 1) } })))
      end
      local bytes = {}
      for byte in whole:gmatch(".") do
        bytes[#bytes + 1] = byte
      end
      assert.same(expected, (ask({ pieces = bytes })))
    end
  end)

  it("has no outcome where its reply ends too early, wherever that is", function()
    for at = 0, #ALLOWED - 1 do
      local reply, err = ask({ pieces = { at > 0 and ALLOWED:sub(1, at) or nil } })
      assert.is_nil(reply)
      assert.equal("receiving failed: closed", err)
      assert.is_true(sockets[1].closed)
      assert.is_nil(sockets[1].keepalive)
    end
  end)

  it("is tried again on a new connection where a pooled one was stale", function()
    for _, stale in ipairs { { reused = true }, { reused = true, send_err = "closed" },
      { reused = true, send_err = "broken pipe" }, { reused = true, receive_err = "connection reset by peer" } } do
      assert.equal(403, ask(stale, { pieces = { REPLY } }).status)
      assert.is_true(sockets[1].closed)
      assert.same({ REQUEST }, sockets[2].sent)
      assert.are_not.equal(sockets[1].pool, sockets[2].pool)
      assert.is_true(sockets[2].closed) -- its pool would never be asked for again
      assert.is_nil(sockets[2].keepalive)
    end
  end)

  it("is tried again in a pool that is no other sidecar's", function()
    target = require("kong.plugins.credential-validator.target").parse("unix:/a")
    ask({ reused = true }, { pieces = { REPLY } })
    for number = 0, 9 do
      local other = require("kong.plugins.credential-validator.target").parse("unix:/a#" .. number)
      assert.not_equal(other.pool, sockets[2].pool)
    end
  end)

  it("never meets one retry's connection in another retry", function()
    local pools = {}
    for _ = 1, 5 do
      ask({ reused = true }, { pieces = { REPLY } })
      assert.is_nil(pools[sockets[2].pool])
      pools[sockets[2].pool] = true
    end
  end)

  for name, case in pairs {
    ["a new connection fails"] = { {} },
    ["a new connection does not take it"] = { { send_err = "closed" } },
    ["a byte has come"] = { { reused = true, pieces = { "H" } } },
    ["it is slow"] = { { reused = true, receive_err = "timeout" } },
    ["it is slow to take the request"] = { { reused = true, send_err = "timeout" } },
    ["it refuses the connection"] = { { refused = "connection refused" } },
    ["it answers garbage"] = { { reused = true, pieces = { "garbage" } } },
    ["it answers too much"] = { { reused = true, pieces = { REPLY .. "x" } } },
    ["the retry fails too"] = { { reused = true }, {} },
    ["the retry meets another stale connection"] = { { reused = true }, { reused = true } },
    ["the retry is refused"] = { { reused = true }, { refused = "connection refused" } },
  } do
    it("is not tried again when " .. name, function()
      local reply, err = ask(unpack(case))
      assert.is_nil(reply)
      assert.is_string(err)
      assert.equal(#case, #sockets)
      for _, socket in ipairs(sockets) do
        assert.is_nil(socket.keepalive)
        assert.is_true(socket.closed or socket.sent[1] == nil) -- one that never opened has nothing to close
      end
    end)
  end

  it("is none where there is no socket", function()
    _G.ngx.socket.tcp = function()
      return nil, "too many open files"
    end
    exchange = fresh "exchange"
    local reply, err = exchange.ask(conf, target, REQUEST, gateway.time + 1)
    assert.is_nil(reply)
    assert.equal("creating a socket failed: too many open files", err)
  end)

  it("has one deadline for all of a reply", function()
    local reply, err = ask({ pieces = { REPLY:sub(1, 9), REPLY:sub(10, 12), REPLY:sub(13) }, slow_s = 0.6 })
    assert.is_nil(reply)
    assert.equal("receiving failed: timeout", err)
    assert.near(400, sockets[1].receive_ms, 1)
    assert.is_true(sockets[1].closed)
    assert.is_nil(sockets[1].keepalive)
  end)

  it("has what connecting left of the time for the reply", function()
    assert.truthy(ask({ pieces = { REPLY }, connect_s = 0.75 }))
    assert.near(1000, sockets[1].connect_ms, 1)
    assert.near(250, sockets[1].receive_ms, 1)
  end)

  it("has the same deadline for both of its tries", function()
    local reply = ask({ reused = true, slow_s = 0.75 }, { pieces = { REPLY } })
    assert.equal(403, reply.status)
    assert.near(250, sockets[2].connect_ms, 1)
    assert.near(250, sockets[2].receive_ms, 1)
  end)

  it("has for each step no more than is configured, nor more than is left", function()
    conf.connect_timeout_ms, conf.send_timeout_ms, conf.read_timeout_ms = 100, 200, 300
    assert.truthy(ask({ pieces = { REPLY } }))
    assert.equal(100, sockets[1].connect_ms)
    assert.equal(200, sockets[1].send_ms)
    assert.near(300, sockets[1].receive_ms, 1)
    conf.connect_timeout_ms, conf.send_timeout_ms, conf.read_timeout_ms = 5000, 5000, 5000
    assert.truthy(ask({ pieces = { REPLY } }))
    assert.near(1000, sockets[1].connect_ms, 1)
    assert.near(1000, sockets[1].send_ms, 1)
    assert.near(1000, sockets[1].receive_ms, 1)
  end)

  it("has only what is left for a handshake and for sending", function()
    target.tls = "sidecar.example"
    ask({ connect_s = 0.9, pieces = { REPLY } })
    assert.is_true(shaken[1].ms <= 100, shaken[1].ms)
    assert.is_true(sockets[1].send_ms <= 100, sockets[1].send_ms)
  end)

  it("has the configured time for all of a reply, not for each of its pieces", function()
    conf.read_timeout_ms = 300
    local reply, err = ask({ pieces = { REPLY:sub(1, 9), REPLY:sub(10, 12), REPLY:sub(13) }, slow_s = 0.16 })
    assert.is_nil(reply)
    assert.equal("receiving failed: timeout", err)
  end)

  it("has lost its reply when more bytes follow than were declared", function()
    for _, err in ipairs { "unread data in buffer", "connection in dubious state" } do
      local reply, why = ask({ pieces = { REPLY }, keep_err = err })
      assert.is_nil(reply)
      assert.equal("the reply is not well-formed: " .. err, why)
      assert.is_true(sockets[1].closed)
    end
  end)

  it("has its reply though the connection is gone", function()
    assert.equal(403, ask({ pieces = { REPLY }, keep_err = "closed" }).status)
    assert.is_true(sockets[1].closed)
  end)

  it("keeps no connection that the sidecar wants to close", function()
    assert.equal(403, ask({ pieces = { (REPLY:gsub("\r\n", "\r\nConnection: close\r\n", 1)) } }).status)
    assert.is_nil(sockets[1].keepalive)
    assert.is_true(sockets[1].closed)
  end)

  describe("over TLS", function()
    before_each(function()
      target.tls = "validator.example"
    end)

    it("begins with a handshake on a new connection", function()
      assert.equal(403, ask({ pieces = { REPLY } }).status)
      assert.equal(1, #shaken)
      assert.equal(sockets[1], shaken[1].sock)
      assert.equal("validator.example", shaken[1].name)
    end)

    it("has no second handshake on a pooled connection", function()
      assert.equal(403, ask({ reused = true, pieces = { REPLY } }).status)
      assert.same({}, shaken)
    end)

    it("has its own handshake in the retry", function()
      assert.equal(403, ask({ reused = true }, { pieces = { REPLY } }).status)
      assert.equal(1, #shaken)
      assert.equal(sockets[2], shaken[1].sock)
    end)

    it("ends with a handshake that fails: nothing is sent, nothing is kept", function()
      for _, before in ipairs { {}, { { reused = true } } } do
        before[#before + 1] = { tls_err = "certificate host mismatch", pieces = { REPLY } }
        local reply, err = ask(unpack(before))
        assert.is_nil(reply)
        assert.equal("the TLS handshake failed: certificate host mismatch", err)
        local last = sockets[#before]
        assert.same({}, last.sent)
        assert.is_true(last.closed)
        assert.is_nil(last.keepalive)
      end
    end)

    it("has its reply where the protocol's own bytes keep the connection out of the pool", function()
      assert.equal(403, ask({ pieces = { REPLY }, keep_err = "connection in dubious state" }).status)
      assert.is_true(sockets[1].closed)
    end)

    it("refuses what is longer than its declared length all the same", function()
      assert.is_nil((ask({ pieces = { REPLY .. "x" } })))
    end)
  end)
end)
