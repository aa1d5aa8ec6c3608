-- Law of this file: the order of things. Clear, read the credential, have it judged, then let through or answer.

local cookies = require "kong.plugins.credential-validator.cookies"
local decisions = require "kong.plugins.credential-validator.decisions"
local denial = require "kong.plugins.credential-validator.denial"
local identity = require "kong.plugins.credential-validator.identity"
local request_path = require("kong.plugins.credential-validator.target").path
local unsafe = require("kong.plugins.credential-validator.sidecar").unsafe

local rawget, rawset, setmetatable, type = rawget, rawset, setmetatable, type

local MAX_HEADERS = 100 -- Kong's own default; beyond it nobody knows what the client sent
-- A deleted consumer stays in use no longer than that where Kong's invalidation does not reach the key.
local CONSUMER_CACHE = { ttl = 60, neg_ttl = 5, resurrect_ttl = 0.001 }

-- In ngx.ctx, which costs a look: kong.ctx.plugin would make a table for every request, and hardly any needs one.
local SESSION = {}

-- Per configuration, for as long as Kong holds it: a service's name -> what is asked of the sidecar.
local paths = setmetatable({}, { __mode = "k" })

local _M = {}

local function path_for(conf, service)
  local known = paths[conf]
  if not known then
    known = {}
    paths[conf] = known
  end
  local path, err = known[service], nil
  if not path then
    path, err = request_path(conf.strategy, service)
    known[service] = path
  end
  return path, err
end

-- The client's credential headers, of which Authorization has yet to be looked through before it is sent anywhere;
-- or nil, nil and the refusal that answers them.
local function read_credentials(received, truncated)
  -- Names come in lower case; a look at one that is missing would have the others tried in other spellings.
  local authorization, cookie = rawget(received, "authorization"), rawget(received, "cookie")
  if type(authorization) == "table" then
    return nil, nil, denial.MULTIPLE
  end
  if truncated or type(cookie) == "table" then
    return nil, nil, denial.MALFORMED
  end
  if cookie and unsafe(cookie) then -- all of it: what is asked about and kept is a part of it alone
    return nil, nil, denial.MALFORMED
  end
  return authorization, cookie
end

local function service_name(conf)
  if conf.service then
    return conf.service
  end
  local service = kong.router.get_service()
  return service and service.name
end

-- The reply that decides over the request, or nil and why there is none.
local function judge(conf, received, truncated)
  local authorization, cookie, refusal = read_credentials(received, truncated)
  if refusal then
    return refusal
  end
  local service = service_name(conf)
  if not service then
    return nil, "neither config.service nor a named Gateway Service says which service is called"
  end
  local path, path_err = path_for(conf, service)
  if not path then
    return nil, path_err
  end
  return decisions.get(conf, path, authorization, cookie)
end

local function hide_credentials(conf, received)
  if not conf.hide_credentials then
    return
  end
  kong.service.request.clear_header("Authorization")
  local cookie = rawget(received, "cookie")
  if not cookie then
    return
  end
  local others = type(cookie) == "string" and cookies.without(cookie, conf.session_cookie_name)
  if others then
    kong.service.request.set_header("Cookie", others)
  else
    kong.service.request.clear_header("Cookie")
  end
end

local function let_application_through(conf, received, reply)
  identity.set_application(reply.identity)
  kong.client.authenticate(nil, { id = reply.identity["X-Credential-Identifier"] })
  hide_credentials(conf, received)
  if reply.set_cookies then
    rawset(ngx.ctx, SESSION, reply.set_cookies)
  end
end

local function let_anonymous_through(conf, received)
  local key = kong.db.consumers:cache_key(conf.anonymous)
  local consumer, err = kong.cache:get(key, CONSUMER_CACHE, kong.client.load_consumer, conf.anonymous, true)
  if not consumer then
    kong.log.err("anonymous consumer '", conf.anonymous, "' ", err and ("could not be loaded: " .. err)
      or "is configured but does not exist")
    return denial.misconfigured()
  end
  identity.set_anonymous(consumer)
  kong.client.authenticate(consumer, nil)
  hide_credentials(conf, received)
end

-- Apart from `execute`, whose loops over headers LuaJIT would not compile as one piece with this.
local function decide(conf, received, truncated)
  local reply, err = judge(conf, received, truncated)
  if not reply then
    kong.log.err("no decision: ", err)
    return denial.unavailable()
  end
  if reply.status == 200 then
    return let_application_through(conf, received, reply)
  end
  if reply.status == 401 and conf.anonymous then
    return let_anonymous_through(conf, received)
  end
  if reply.status == 404 then
    kong.log.err("no decision: the sidecar knows no strategy '", conf.strategy, "'")
    return denial.unavailable()
  end
  if reply.status == 503 then
    kong.log.warn("no decision: the sidecar answered 503")
    return denial.unavailable(reply)
  end
  return denial.pass_on(reply)
end

-- The access phase.
function _M.execute(conf)
  local received = kong.request.get_headers(MAX_HEADERS)
  if conf.anonymous and kong.client.get_credential() then
    identity.clear(received, MAX_HEADERS, true) -- another plugin has passed it: Kong's logical OR
    return
  end
  return decide(conf, received, identity.clear(received, MAX_HEADERS))
end

-- The header_filter phase: the session's cookies join those of the upstream.
function _M.pass_session_on()
  local session = ngx.ctx[SESSION]
  for at = 1, session and #session or 0 do
    kong.response.add_header("Set-Cookie", session[at])
  end
end

return _M
