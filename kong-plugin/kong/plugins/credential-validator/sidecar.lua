-- Law of this file: the question, and to which sidecars it goes until one of them decides, within timeout_ms in all.

local exchange = require("kong.plugins.credential-validator.exchange").ask
local health = require "kong.plugins.credential-validator.health"

local find, min, now, re_find = string.find, math.min, ngx.now, ngx.re.find

-- Would end a line of the request that is written by hand. A compiled expression, since Lua's own patterns take ten
-- times as long over a credential of a kilobyte.
local CONTROL_BUT_TAB = "[\\x00-\\x08\\x0a-\\x1f\\x7f]"
-- What another sidecar may know better: this one lacks the strategy, or what it would have to ask.
local UNDECIDED = { [404] = true, [503] = true }

local SLOW = "receiving failed: timeout$"

local _M = {}

-- Whether a header's value must not be given to `ask`.
function _M.unsafe(value)
  local at, _, err = re_find(value, CONTROL_BUT_TAB, "jo")
  return at ~= nil or err ~= nil
end

-- All in the order in which the sidecar reads them the fastest: what changes with each request comes last.
local function write(question, host_header)
  return "GET " .. question.path .. " HTTP/1.1\r\nHost: " .. host_header .. "\r\n"
    .. (question.authorization and ("Authorization: " .. question.authorization .. "\r\n") or "")
    .. (question.cookie and ("Cookie: " .. question.cookie .. "\r\n") or "")
    .. (question.traceparent and ("traceparent: " .. question.traceparent .. "\r\n") or "") .. "\r\n"
end

local function ask_one(conf, target, question, deadline)
  local reply, err = exchange(conf, target, write(question, target.host_header), deadline)
  return reply, not reply and (target.url .. ": " .. err) or nil
end

-- The same for one of several: what it says or fails to say counts for its health.
local function try(conf, target, question, deadline)
  local reply, err = ask_one(conf, target, question, deadline)
  if reply then
    health.good(target.health)
    return reply
  end
  if health.bad(target.health, now(), find(err, SLOW)) then
    kong.log.warn("a sidecar is passed over for now: ", err)
  end
  return nil, err
end

-- Those that are up in their order, and only where none of them decides those that rest. Whoever is asked while others
-- are left gets half of the time.
local function ask_in_turn(conf, targets, question, deadline)
  local asked, undecided, err = {}, nil, nil
  for round = 1, 2 do
    for at = 1, #targets do
      local target = targets[at]
      local moment = now()
      if not asked[at] and moment < deadline and (round == 2 or not health.rests(target.health, moment)) then
        asked[at] = true
        asked.count = (asked.count or 0) + 1
        local until_then = asked.count < #targets and (moment + deadline) / 2 or deadline
        local reply
        reply, err = try(conf, target, question, until_then)
        if reply and not UNDECIDED[reply.status] then
          return reply
        end
        undecided = reply or undecided
      end
    end
  end
  return undecided, err
end

-- Asks `question`, { path, authorization, cookie, traceparent }: the client's own credential headers, each a safe
-- string or nil. Within timeout_ms, or within `limit_ms` where that is given and shorter. Returns the reply, or nil
-- and why.
function _M.ask(conf, targets, question, limit_ms)
  local deadline = now() + min(conf.timeout_ms, limit_ms or conf.timeout_ms) / 1000
  if #targets == 1 then
    return ask_one(conf, targets[1], question, deadline)
  end
  return ask_in_turn(conf, targets, question, deadline)
end

return _M
