-- Law of this file: how long a decision of the sidecar is reused, and for whom. Off (decision_cache_ttl_s = 0), every
-- request is asked about. On, nothing outlives the sidecar's own max-age, and nothing stale is ever an answer.

local denial = require "kong.plugins.credential-validator.denial"
local identity = require "kong.plugins.credential-validator.identity"
local replies = require "kong.plugins.credential-validator.reply"
local sha256 = require "resty.sha256"
local sidecar = require "kong.plugins.credential-validator.sidecar"
local tracing = require "kong.plugins.credential-validator.tracing"

local find, format, match, sub = string.find, string.format, string.match, string.sub
local min, tonumber, type = math.min, tonumber, type
local now = ngx.now

local CACHEABLE = { [200] = true, [401] = true, [403] = true, [429] = true }
-- Kong's cache lets others wait 5 s for the one who asks: that one has to be done well before.
local LOCKED_LIMIT_MS = 4000
local CLOCK_STEP_S = 0.001
local STALE = 4 -- the hit level of a value that has outlived its time
-- Stands for "ask by yourself": parallel requests that cannot share an answer need not wait for one another.
local ASK, ASK_TTL_S = "ask", 1

local _M = {}

-- One for all requests: between its reset and its digest nothing waits.
local digest = sha256:new()

-- Everything that the answer depends on, and the credential only as a digest, whose bytes are as good in a key as
-- their text; the length tells where in it the session begins. Nil where there is no digest: without one, everybody's
-- key would be the same.
local function key_of(settings, question)
  local authorization, cookie = question.authorization, question.cookie
  local hashed = digest:reset()
  if authorization then
    hashed = digest:update(authorization) and hashed
  end
  if cookie then
    hashed = digest:update(cookie) and hashed
  end
  local bytes = digest:final()
  if not hashed or not bytes then
    return nil
  end
  return "credential-validator:" .. settings.scope .. ":" .. question.path .. ":"
    .. (authorization and #authorization or "none") .. ":" .. bytes
end

local function freeze(reply, expires_at)
  return format("%.3f\n", expires_at) .. replies.render(reply)
end

-- What was stored as { reply, expires_at }, judged again as strictly as what comes from the wire. What is no decision
-- stays what it was, since an error here would be one of the cache.
local function thaw(value)
  if type(value) ~= "string" then
    return value
  end
  local line_end = find(value, "\n", 1, true)
  local expires_at = line_end and match(sub(value, 1, line_end - 1), "^%d+%.%d+$")
  local reply = expires_at and replies.parse_rendered(sub(value, line_end + 1))
  return reply and { reply, tonumber(expires_at) } or value
end

-- The reply in what the cache handed out; nil where it is none now. More time than is configured it has where that was
-- lowered, or where the clock was set back.
local function reply_in(conf, value)
  local decision = thaw(value)
  if type(decision) ~= "table" or type(decision[2]) ~= "number" then
    return nil
  end
  local left = decision[2] - now()
  return left > 0 and left <= conf.decision_cache_ttl_s + CLOCK_STEP_S and decision[1] or nil
end

-- Kong's own default for both times is for ever; what has expired is to be revived for no longer than a blink. Each
-- worker judges what is stored once, when it takes it over, and not at every hit.
local OPTIONS = { ttl = ASK_TTL_S, neg_ttl = ASK_TTL_S, resurrect_ttl = 0.001, l1_serializer = thaw }

-- A credential that was asked about before had the same bytes: it is looked through here, and not at every hit.
local function ask(conf, settings, question, limit_ms)
  if question.authorization and sidecar.unsafe(question.authorization) then
    return denial.MALFORMED
  end
  local span
  span, question.traceparent = tracing.begin(question.received)
  local reply, err = sidecar.ask(conf, settings.targets, question, limit_ms)
  if span then
    tracing.finish(span, reply, err)
  end
  local misfit = reply and identity.misfit(settings.names, reply)
  if misfit then
    return nil, "the reply is not well-formed: a repeated or oversized " .. misfit
  end
  return reply, err
end

-- Seconds for which others may have the reply.
local function ttl_of(conf, reply)
  if not reply or not CACHEABLE[reply.status] or reply.access_token then
    return 0
  end
  return min(conf.decision_cache_ttl_s, reply.max_age or 0)
end

-- kong.cache's callback. The question carries the whole answer, cookies and errors included, to the one request that
-- asked.
local function ask_for_all(conf, settings, question)
  local asked_at = now()
  local reply, err = ask(conf, settings, question, LOCKED_LIMIT_MS)
  question.asked, question.reply, question.err = true, reply, err
  if reply == denial.MALFORMED then
    return nil, "malformed" -- errors are not stored
  end
  -- From the question on: what is revoked while the answer is on its way is not in it.
  local expires_at = asked_at + ttl_of(conf, reply)
  local left = expires_at - now()
  if left < CLOCK_STEP_S then -- what has less time than that, nginx would store for ever
    return ASK, nil, ASK_TTL_S
  end
  return freeze(reply, expires_at), nil, left
end

-- The sidecar's reply to the question (see request.question), which is told where nobody was asked for it; or nil and
-- why there is none.
function _M.get(conf, settings, question)
  -- Kong's sandbox, made before there was a cache, has false in its place.
  local key = conf.decision_cache_ttl_s > 0 and settings.scope and kong.cache.get and key_of(settings, question)
  if not key then
    return ask(conf, settings, question)
  end
  local began = now()
  local value, err, level = kong.cache:get(key, OPTIONS, ask_for_all, conf, settings, question)
  if question.asked then
    return question.reply, question.err
  end
  if err then
    return nil, "the decision cache failed: " .. err
  end
  local reply = level ~= STALE and reply_in(conf, value)
  if reply then
    question.cached = true
    return reply
  end
  -- Perhaps after waiting for one who had no answer for all.
  local left_ms = conf.timeout_ms - (now() - began) * 1000
  if left_ms < 1 then
    return nil, "no answer in time to share"
  end
  return ask(conf, settings, question, left_ms)
end

return _M
