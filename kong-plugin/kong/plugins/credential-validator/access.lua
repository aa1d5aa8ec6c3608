-- Law of this file: the order of things. Clear, read the credential, have it judged, then let through or answer.

local cookies = require "kong.plugins.credential-validator.cookies"
local decisions = require "kong.plugins.credential-validator.decisions"
local denial = require "kong.plugins.credential-validator.denial"
local identity = require "kong.plugins.credential-validator.identity"
local request_path = require("kong.plugins.credential-validator.target").path

local ipairs, setmetatable, type = ipairs, setmetatable, type
local re_find = ngx.re.find

-- Would end a line of the request that is written by hand. A compiled expression, since Lua's own patterns take ten
-- times as long over a credential of a kilobyte.
local CONTROL_BUT_TAB = "[\\x00-\\x08\\x0a-\\x1f\\x7f]"
local MAX_HEADERS = 100 -- Kong's own default; beyond it nobody knows what the client sent
-- A deleted consumer stays in use no longer than that where Kong's invalidation does not reach the key.
local CONSUMER_CACHE = { ttl = 60, neg_ttl = 5, resurrect_ttl = 0.001 }

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

local function unsafe(header)
  local at, _, err = re_find(header, CONTROL_BUT_TAB, "jo")
  return at or err
end

-- The client's credential headers; or nil, nil and the refusal that answers them.
local function read_credentials(received, truncated)
  local authorization, cookie = received["authorization"], received["cookie"]
  if type(authorization) == "table" then
    return nil, nil, denial.MULTIPLE
  end
  if truncated or type(cookie) == "table" then
    return nil, nil, denial.MALFORMED
  end
  if authorization and unsafe(authorization) or cookie and unsafe(cookie) then
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
  local cookie = received["cookie"]
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
    kong.ctx.plugin.set_cookies = reply.set_cookies
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

-- The access phase.
function _M.execute(conf)
  local received = kong.request.get_headers(MAX_HEADERS)
  if conf.anonymous and kong.client.get_credential() then
    identity.clear(received, MAX_HEADERS, true) -- another plugin has passed it: Kong's logical OR
    return
  end
  local truncated = identity.clear(received, MAX_HEADERS)

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

-- The header_filter phase: the session's cookies join those of the upstream.
function _M.pass_session_on()
  for _, cookie in ipairs(kong.ctx.plugin.set_cookies or {}) do
    kong.response.add_header("Set-Cookie", cookie)
  end
end

return _M
