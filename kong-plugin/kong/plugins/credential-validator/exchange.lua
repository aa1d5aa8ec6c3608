-- Law of this file: one question to one sidecar over a pooled connection. What the reply means is judged elsewhere.

local handshake = require("kong.plugins.credential-validator.tls").handshake
local parse_reply = require("kong.plugins.credential-validator.reply").parse

local floor, max, min = math.floor, math.max, math.min
local now, tcp = ngx.now, ngx.socket.tcp

local CHUNK_BYTES = 16384 -- a usual reply arrives in one piece
local WORTH_A_RETRY = true

local fresh_pools = 0

local _M = {}

local function left_ms(deadline)
  return floor((deadline - now()) * 1000)
end

-- The time for one step: what is left, and no more than is configured for it.
local function step_ms(deadline, limit_ms)
  local left = left_ms(deadline)
  return limit_ms and min(left, limit_ms) or left
end

-- Before each step, as each takes from what is left; a handshake counts as connecting.
local function set_timeouts(sock, conf, deadline)
  sock:settimeouts(
    max(step_ms(deadline, conf.connect_timeout_ms), 1),
    max(step_ms(deadline, conf.send_timeout_ms), 1),
    max(step_ms(deadline, conf.read_timeout_ms), 1)
  )
end

local function open(sock, conf, target, pool, deadline)
  set_timeouts(sock, conf, deadline)
  local connected, err
  if target.port then
    connected, err = sock:connect(target.host, target.port, { pool = pool })
  else
    connected, err = sock:connect(target.host, { pool = pool })
  end
  if not connected then
    return nil, "connecting failed: " .. err
  end
  local reused = sock:getreusedtimes() > 0
  if target.tls and not reused then
    set_timeouts(sock, conf, deadline)
    local encrypted, tls_err = handshake(sock, conf, target.tls)
    if not encrypted then
      sock:close()
      return nil, "the TLS handshake failed: " .. tls_err
    end
  end
  return true, reused
end

-- Returns the reply; or nil, why, and whether nothing of a reply came and the connection itself was at fault.
local function exchange(sock, request, deadline)
  local sent, send_err = sock:send(request)
  if not sent then
    return nil, "sending failed: " .. send_err, send_err ~= "timeout"
  end
  local bytes = ""
  while true do
    local ms = left_ms(deadline)
    if ms <= 0 then
      return nil, "receiving failed: timeout"
    end
    sock:settimeout(ms)
    local data, receive_err = sock:receiveany(CHUNK_BYTES)
    if not data then
      return nil, "receiving failed: " .. receive_err, bytes == "" and receive_err ~= "timeout"
    end
    bytes = bytes .. data
    local reply, why = parse_reply(bytes)
    if why then
      return nil, "the reply is not well-formed: " .. why
    end
    if reply then
      return reply
    end
  end
end

local function attempt(conf, target, request, deadline, pool)
  local sock, socket_err = tcp()
  if not sock then
    return nil, "creating a socket failed: " .. socket_err
  end
  local opened, reused = open(sock, conf, target, pool, deadline)
  if not opened then
    return nil, reused
  end

  if not reused then -- one from the pool has taken no time
    set_timeouts(sock, conf, deadline)
  end
  local limit = conf.read_timeout_ms
  local read_deadline = limit and min(deadline, now() + limit / 1000) or deadline
  local reply, err, untouched = exchange(sock, request, read_deadline)
  if not reply then
    sock:close()
    return nil, err, reused and untouched and WORTH_A_RETRY
  end
  if not reply.keep_alive or pool ~= target.pool then
    sock:close()
    return reply
  end
  local kept, keep_err = sock:setkeepalive(conf.keepalive_idle_ms, conf.keepalive_pool_size)
  if not kept then
    sock:close()
    if keep_err ~= "closed" and not target.tls then
      -- More bytes have come by now than the reply declared: whose answer they are cannot be known. Under TLS they may
      -- be the protocol's own.
      return nil, "the reply is not well-formed: " .. keep_err
    end
  end
  return reply
end

-- Asks once, and once more where the connection came from the pool and had died there. Returns the reply, or nil and
-- why. `deadline`: seconds, as ngx.now.
function _M.ask(conf, target, request, deadline)
  local reply, err, again = attempt(conf, target, request, deadline, target.pool)
  if again then
    -- A pool of its own cannot hold another stale connection.
    fresh_pools = fresh_pools + 1
    reply, err = attempt(conf, target, request, deadline, target.pool .. " " .. fresh_pools)
  end
  return reply, err
end

return _M
