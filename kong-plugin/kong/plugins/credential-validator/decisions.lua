-- Law of this file: how long a decision of the sidecar is reused, and for whom. Off (decision_cache_ttl_s = 0), every
-- request is asked about. On, nothing outlives the sidecar's own max-age, and nothing stale is ever an answer.

local cookies = require "kong.plugins.credential-validator.cookies"
local denial = require "kong.plugins.credential-validator.denial"
local replies = require "kong.plugins.credential-validator.reply"
local sha256 = require "resty.sha256"
local sidecar = require "kong.plugins.credential-validator.sidecar"

local find, format, match, sub = string.find, string.format, string.match, string.sub
local getmetatable, min, setmetatable, tonumber, type = getmetatable, math.min, setmetatable, tonumber, type
local now = ngx.now

local CACHEABLE = { [200] = true, [401] = true, [403] = true, [429] = true }
-- Kong's cache lets others wait 5 s for the one who asks: that one has to be done well before.
local LOCKED_LIMIT_MS = 4000
local STALE = 4 -- the hit level of a value that has outlived its time
-- Stands for "ask by yourself": parallel requests that cannot share an answer need not wait for one another.
local ASK, ASK_TTL_S = "ask", 1

local _M = {}

-- One for all requests: between its reset and its digest nothing waits.
local digest = sha256:new()

-- Everything that the answer depends on, and the credential only as a digest, whose bytes are as good in a key as
-- their text; the length tells where in it the session begins. Nil where there is no digest: without one, everybody's
-- key would be the same.
local function key_of(conf, path, authorization, session)
  local hashed = digest:reset()
  if authorization then
    hashed = digest:update(authorization) and hashed
  end
  if session then
    hashed = digest:update(session) and hashed
  end
  local bytes = digest:final()
  if not hashed or not bytes then
    return nil
  end
  return "credential-validator:" .. conf.__plugin_id .. ":" .. path .. ":"
    .. (authorization and #authorization or "none") .. ":" .. bytes
end

local function freeze(reply, ttl)
  return format("%.3f\n", now() + ttl) .. replies.render(reply)
end

-- Marks what `thaw` has made, { reply, expires_at }: by place, as there are many and the collector walks them all.
local Decision = {}

-- What was stored, judged again as strictly as what comes from the wire. What is no decision stays what it was, since
-- an error here would be one of the cache.
local function thaw(value)
  if type(value) ~= "string" then
    return value
  end
  local line_end = find(value, "\n", 1, true)
  local expires_at = line_end and match(sub(value, 1, line_end - 1), "^%d+%.%d+$")
  local reply = expires_at and replies.parse_rendered(sub(value, line_end + 1))
  return reply and setmetatable({ reply, tonumber(expires_at) }, Decision) or value
end

-- The reply in what the cache handed out; nil where it is none now.
local function reply_in(value)
  local decision = getmetatable(value) == Decision and value or thaw(value)
  return getmetatable(decision) == Decision and decision[2] > now() and decision[1] or nil
end

-- Kong's own default for both times is for ever; what has expired is to be revived for no longer than a blink. Each
-- worker judges what is stored once, when it takes it over, and not at every hit.
local OPTIONS = { ttl = ASK_TTL_S, neg_ttl = ASK_TTL_S, resurrect_ttl = 0.001, l1_serializer = thaw }

-- A credential that was asked about before had the same bytes: it is looked through here, and not at every hit.
local function ask(conf, path, authorization, cookie, limit_ms)
  if authorization and sidecar.unsafe(authorization) then
    return denial.MALFORMED
  end
  return sidecar.ask(conf, path, authorization, cookie, limit_ms)
end

-- kong.cache's callback. `own` carries the whole answer, cookies and errors included, to the one request that asked.
local function ask_for_all(conf, path, authorization, cookie, own)
  local reply, err = ask(conf, path, authorization, cookie, LOCKED_LIMIT_MS)
  own.asked, own.reply, own.err = true, reply, err
  if reply == denial.MALFORMED then
    return nil, "malformed" -- errors are not stored
  end
  local ttl = reply and CACHEABLE[reply.status] and min(conf.decision_cache_ttl_s, reply.max_age) or 0
  if ttl <= 0 then
    return ASK, nil, ASK_TTL_S
  end
  return freeze(reply, ttl), nil, ttl
end

-- The sidecar's reply for these credential headers, or nil and why there is none.
function _M.get(conf, path, authorization, cookie)
  -- Only what is in the key is asked about: were the sidecar shown a cookie of another name, and did it know that
  -- one for a session, its answer would stand under the key of somebody without any.
  cookie = cookie and cookies.pick(cookie, conf.session_cookie_name)
  local key = conf.decision_cache_ttl_s > 0 and conf.__plugin_id and key_of(conf, path, authorization, cookie)
  if not key then
    return ask(conf, path, authorization, cookie)
  end
  local own = {}
  local value, err, level = kong.cache:get(key, OPTIONS, ask_for_all, conf, path, authorization, cookie, own)
  if own.asked then
    return own.reply, own.err
  end
  if err then
    return nil, "the decision cache failed: " .. err
  end
  local reply = level ~= STALE and reply_in(value)
  if reply then
    return reply
  end
  return ask(conf, path, authorization, cookie)
end

return _M
