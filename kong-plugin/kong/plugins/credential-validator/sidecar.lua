-- Law of this file: one question to the sidecar over a pooled connection, within timeout_ms in all. What the reply
-- means is judged elsewhere.

local parse_reply = require("kong.plugins.credential-validator.reply").parse
local parse_target = require("kong.plugins.credential-validator.target").parse

local floor, max, min, setmetatable = math.floor, math.max, math.min, setmetatable
local now, re_find, tcp = ngx.now, ngx.re.find, ngx.socket.tcp

-- Would end a line of the request that is written by hand. A compiled expression, since Lua's own patterns take ten
-- times as long over a credential of a kilobyte.
local CONTROL_BUT_TAB = "[\\x00-\\x08\\x0a-\\x1f\\x7f]"
local CHUNK_BYTES = 16384 -- a usual reply arrives in one piece
local WORTH_A_RETRY = true

-- Per configuration, for as long as Kong holds it.
local targets = setmetatable({}, { __mode = "k" })
local fresh_pools = 0

local _M = {}

local function target_of(conf)
  local target, err = targets[conf], nil
  if not target then
    target, err = parse_target(conf.validator_url)
    targets[conf] = target
  end
  return target, err
end

local function left_ms(deadline)
  return floor((deadline - now()) * 1000)
end

local function connect(sock, target, pool, deadline)
  local ms = max(left_ms(deadline), 1)
  sock:settimeouts(ms, ms, ms)
  if target.port then
    return sock:connect(target.host, target.port, { pool = pool })
  end
  return sock:connect(target.host, { pool = pool })
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
  local connected, connect_err = connect(sock, target, pool, deadline)
  if not connected then
    return nil, "connecting failed: " .. connect_err
  end

  local reused = sock:getreusedtimes() > 0
  local reply, err, untouched = exchange(sock, request, deadline)
  if not reply then
    sock:close()
    return nil, err, reused and untouched and WORTH_A_RETRY
  end
  if not reply.keep_alive or pool ~= target.pool then
    sock:close()
    return reply
  end
  local kept, keep_err = sock:setkeepalive(conf.keepalive_idle_ms, conf.keepalive_pool_size)
  if not kept and keep_err ~= "closed" then
    -- More bytes have come than the reply declared: whose answer they are cannot be known.
    sock:close()
    return nil, "the reply is not well-formed: " .. keep_err
  end
  return reply
end

-- Whether a header's value must not be given to `ask`.
function _M.unsafe(value)
  local at, _, err = re_find(value, CONTROL_BUT_TAB, "jo")
  return at ~= nil or err ~= nil
end

-- Asks `path` with the client's own credential headers, each a safe string or nil, within timeout_ms, or within
-- `limit_ms` where that is given and shorter. Returns the reply, or nil and why.
function _M.ask(conf, path, authorization, cookie, limit_ms)
  local target, target_err = target_of(conf)
  if not target then
    return nil, target_err
  end
  local request = "GET " .. path .. " HTTP/1.1\r\nHost: " .. target.host_header .. "\r\n"
    .. (authorization and ("Authorization: " .. authorization .. "\r\n") or "")
    .. (cookie and ("Cookie: " .. cookie .. "\r\n") or "") .. "\r\n"
  local deadline = now() + min(conf.timeout_ms, limit_ms or conf.timeout_ms) / 1000

  local reply, err, again = attempt(conf, target, request, deadline, target.pool)
  if again then
    -- A pool of its own cannot hold another stale connection.
    fresh_pools = fresh_pools + 1
    reply, err = attempt(conf, target, request, deadline, target.pool .. "#" .. fresh_pools)
  end
  return reply, err
end

return _M
