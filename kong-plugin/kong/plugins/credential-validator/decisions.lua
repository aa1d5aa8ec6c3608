-- Law of this file: how long a decision of the sidecar is reused, and for whom. Off (decision_cache_ttl_s = 0), every
-- request is asked about. On, nothing outlives the sidecar's own max-age, and nothing stale is ever an answer.

local cookies = require "kong.plugins.credential-validator.cookies"
local replies = require "kong.plugins.credential-validator.reply"
local sha256 = require "resty.sha256"
local sidecar = require "kong.plugins.credential-validator.sidecar"

local byte, find, format, match, sub = string.byte, string.find, string.format, string.match, string.sub
local concat, min, tonumber, type = table.concat, math.min, tonumber, type
local now = ngx.now

local CACHEABLE = { [200] = true, [401] = true, [403] = true, [429] = true }
-- Kong's cache lets others wait 5 s for the one who asks: that one has to be done well before.
local LOCKED_LIMIT_MS = 4000
local STALE = 4 -- the hit level of a value that has outlived its time
-- Stands for "ask by yourself": parallel requests that cannot share an answer need not wait for one another.
local ASK, ASK_TTL_S = "ask", 1
-- Kong's own default for both is for ever; what has expired is to be revived for no longer than a blink.
local OPTIONS = { ttl = ASK_TTL_S, neg_ttl = ASK_TTL_S, resurrect_ttl = 0.001 }

local _M = {}

local HEX = {}
for code = 0, 255 do
  HEX[code] = format("%02x", code)
end

local function hex(bytes)
  local digits = {}
  for at = 1, #bytes do
    digits[at] = HEX[byte(bytes, at)]
  end
  return concat(digits)
end

-- Everything that the answer depends on, and the credential only as a digest.
local function key_of(conf, path, authorization, session)
  local digest = sha256:new()
  digest:update((authorization and #authorization or "none") .. ":")
  digest:update(authorization or "")
  digest:update(session or "")
  return "credential-validator:" .. conf.__plugin_id .. ":" .. path .. ":" .. hex(digest:final())
end

local function freeze(reply, ttl)
  return format("%.3f\n", now() + ttl) .. replies.render(reply)
end

-- What was stored, judged again as strictly as what comes from the wire; nil where it is no answer now.
local function thaw(value)
  if type(value) ~= "string" then
    return nil
  end
  local line_end = find(value, "\n", 1, true)
  local expires_at = line_end and match(sub(value, 1, line_end - 1), "^%d+%.%d+$")
  if not expires_at or tonumber(expires_at) <= now() then
    return nil
  end
  return (replies.parse(sub(value, line_end + 1)))
end

-- kong.cache's callback. `own` carries the whole answer, cookies and errors included, to the one request that asked.
local function ask_for_all(conf, path, authorization, cookie, own)
  local reply, err = sidecar.ask(conf, path, authorization, cookie, LOCKED_LIMIT_MS)
  own.asked, own.reply, own.err = true, reply, err
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
  if conf.decision_cache_ttl_s <= 0 or not conf.__plugin_id then
    return sidecar.ask(conf, path, authorization, cookie)
  end
  local own = {}
  local key = key_of(conf, path, authorization, cookie)
  local value, err, level = kong.cache:get(key, OPTIONS, ask_for_all, conf, path, authorization, cookie, own)
  if own.asked then
    return own.reply, own.err
  end
  if err then
    return nil, "the decision cache failed: " .. err
  end
  local reply = level ~= STALE and thaw(value)
  if reply then
    return reply
  end
  return sidecar.ask(conf, path, authorization, cookie)
end

return _M
