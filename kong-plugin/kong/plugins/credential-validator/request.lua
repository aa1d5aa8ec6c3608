-- Law of this file: what the client sent, and what of it is shown to the sidecar or hidden from the upstream.

local cookies = require "kong.plugins.credential-validator.cookies"
local denial = require "kong.plugins.credential-validator.denial"
local header_in = require "kong.plugins.credential-validator.received"
local unsafe = require("kong.plugins.credential-validator.sidecar").unsafe

local lower, match, type = string.lower, string.match, type

local OURS = { basic = true, bearer = true }

local _M = {
  MAX_HEADERS = 100, -- Kong's own default; beyond it nobody knows what the client sent
}

-- What is asked about the request, and what became of the question: { service, path, authorization, cookie,
-- traceparent, received, latency_ms, cached }, of which Authorization has yet to be looked through before it is sent
-- anywhere; and the refusal that answers it unasked, if any. `truncated`: there are more headers than Kong reads. One
-- table, since each that a request makes is paid for again by the collector.
function _M.question(conf, service, received, truncated)
  -- Names come in lower case; a look at one that is missing would have the others tried in other spellings.
  local authorization, cookie, refusal = header_in(received, "authorization"), header_in(received, "cookie"), nil
  if type(authorization) == "table" then
    authorization, refusal = nil, denial.MULTIPLE
  elseif truncated or type(cookie) == "table" or cookie and unsafe(cookie) then
    refusal = denial.MALFORMED -- of the cookie all: what is asked about and kept is a part of it alone
  elseif cookie then
    -- Only what is in the key of a kept decision is asked about: were the sidecar shown a cookie of another name, and
    -- did it know that one for a session, its answer would stand under the key of somebody without any.
    cookie = cookies.pick(cookie, conf.session_cookie_name)
  end
  return {
    service = service,
    path = nil,
    authorization = authorization,
    cookie = not refusal and cookie or nil,
    traceparent = nil,
    received = received,
    latency_ms = 0,
    cached = false,
  }, refusal
end

-- Removes the session cookie, and no other, from what goes upstream.
function _M.hide_session(conf, received)
  local cookie = header_in(received, "cookie")
  if not cookie then
    return
  end
  local others = type(cookie) == "string" and cookies.without(cookie, conf.session_cookie_name)
  if not others then
    kong.service.request.clear_header("Cookie")
  elseif others ~= cookie then
    kong.service.request.set_header("Cookie", others)
  end
end

-- Removes the credential, whatever it is. With `only_ours`, an Authorization of a scheme that is judged elsewhere is
-- left to the authentication plugin that comes after this one.
function _M.hide_credentials(conf, received, only_ours)
  local authorization = header_in(received, "authorization")
  local scheme = only_ours and type(authorization) == "string" and match(authorization, "^([%w-]+) ")
  if not scheme or OURS[lower(scheme)] then
    kong.service.request.clear_header("Authorization")
  end
  _M.hide_session(conf, received)
end

return _M
