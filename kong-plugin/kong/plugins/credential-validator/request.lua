-- Law of this file: what the client sent, and what of it is shown to the sidecar or hidden from the upstream.

local cookies = require "kong.plugins.credential-validator.cookies"
local denial = require "kong.plugins.credential-validator.denial"
local unsafe = require("kong.plugins.credential-validator.sidecar").unsafe

local rawget = rawget or function(from, key) -- not in Kong's sandbox for streamed plugins
  return from[key]
end
local lower, match, type = string.lower, string.match, type

local OURS = { basic = true, bearer = true }

local _M = {
  MAX_HEADERS = 100, -- Kong's own default; beyond it nobody knows what the client sent
}

-- What is asked about the request, { path, authorization, cookie, received }, of which Authorization has yet to be
-- looked through before it is sent anywhere; or nil and the refusal that answers it. `truncated`: `received` may lack
-- some of the headers.
function _M.question(conf, path, received, truncated)
  -- Names come in lower case; a look at one that is missing would have the others tried in other spellings.
  local authorization, cookie = rawget(received, "authorization"), rawget(received, "cookie")
  if type(authorization) == "table" then
    return nil, denial.MULTIPLE
  end
  if truncated or type(cookie) == "table" then
    return nil, denial.MALFORMED
  end
  if cookie then
    if unsafe(cookie) then -- all of it: what is asked about and kept is a part of it alone
      return nil, denial.MALFORMED
    end
    -- Only what is in the key of a kept decision is asked about: were the sidecar shown a cookie of another name, and
    -- did it know that one for a session, its answer would stand under the key of somebody without any.
    cookie = cookies.pick(cookie, conf.session_cookie_name)
  end
  return { path = path, authorization = authorization, cookie = cookie, traceparent = nil, received = received }
end

-- Removes the session cookie, and no other, from what goes upstream.
function _M.hide_session(conf, received)
  local cookie = rawget(received, "cookie")
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
  local authorization = rawget(received, "authorization")
  local scheme = only_ours and type(authorization) == "string" and match(authorization, "^([%w-]+) ")
  if not scheme or OURS[lower(scheme)] then
    kong.service.request.clear_header("Authorization")
  end
  _M.hide_session(conf, received)
end

return _M
