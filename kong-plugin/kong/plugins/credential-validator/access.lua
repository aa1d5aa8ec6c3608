-- Law of this file: the order of things. Clear, read the credential, have it judged, then let through or answer.

local consumers = require "kong.plugins.credential-validator.consumers"
local decisions = require "kong.plugins.credential-validator.decisions"
local denial = require "kong.plugins.credential-validator.denial"
local facts = require "kong.plugins.credential-validator.facts"
local identity = require "kong.plugins.credential-validator.identity"
local request = require "kong.plugins.credential-validator.request"
local session = require "kong.plugins.credential-validator.session"
local settings_of = require("kong.plugins.credential-validator.settings").of
local path_of = require("kong.plugins.credential-validator.settings").path

local floor, now = math.floor, ngx.now

local _M = {}

local function service_name(conf)
  if conf.service then
    return conf.service
  end
  local service = kong.router.get_service()
  return service and service.name
end

-- The reply that decides over the request, or nil and why there is none.
local function judge(conf, settings, question)
  if not question.service then
    return nil, "neither config.service nor a named Gateway Service says which service is called"
  end
  local path, path_err = path_of(settings, question.service)
  if not path then
    return nil, path_err
  end
  question.path = path
  local began = now()
  local reply, err = decisions.get(conf, settings, question)
  question.latency_ms = floor((now() - began) * 1000 + 0.5)
  return reply, err
end

-- `reply`: the sidecar's own 503, where it gave one.
local function unavailable(settings, question, received, why, reply)
  local log = reply and kong.log.warn or kong.log.err
  log("no decision: ", why)
  facts.tell(settings, question, "unavailable", 503, reply)
  return denial.unavailable(received, reply)
end

local function let_application_through(conf, settings, question, received, reply)
  local consumer
  if conf.consumer_by then
    local err
    consumer, err = consumers.of_application(conf, reply.identity)
    if err then
      return unavailable(settings, question, received, "the consumer could not be looked up: " .. err)
    end
  end
  local client_id = reply.identity["X-Credential-Identifier"]
  local minted = conf.forward_minted_token and reply.identity["X-Auth-Method"] == "client_credentials"
  if minted and not reply.access_token then
    return unavailable(settings, question, received,
      "the sidecar gave no minted token; does the strategy set forward_minted_token?")
  end
  if conf.consumer_by and not consumer and not conf.consumer_optional then
    kong.log.notice("denied: no consumer with the ", conf.consumer_by, " of application ",
      reply.identity["X-Application-Id"])
    facts.tell(settings, question, "denied", 403, reply)
    return denial.no_consumer(received)
  end

  facts.tell(settings, question, "allowed", 200, reply, consumer)
  identity.set_application(settings.names, reply)
  if consumer then
    identity.set_consumer(consumer)
  end
  kong.client.authenticate(consumer, { id = client_id, consumer_id = consumer and consumer.id })
  if minted then
    kong.service.request.set_header("Authorization", "Bearer " .. reply.access_token)
  end
  session.hold(reply)
end

local function let_anonymous_through(conf, settings, question, received, reply)
  local consumer, err = consumers.anonymous(conf.anonymous)
  if err then
    return unavailable(settings, question, received, "the anonymous consumer could not be loaded: " .. err)
  end
  if not consumer then
    kong.log.err("anonymous consumer '", conf.anonymous, "' is configured but does not exist")
    facts.tell(settings, question, "unavailable", 500, reply)
    return denial.misconfigured(received)
  end
  facts.tell(settings, question, "anonymous", 200, reply, consumer)
  identity.set_anonymous(consumer)
  kong.client.authenticate(consumer, nil)
end

-- Apart from `execute`, whose loops over headers LuaJIT would not compile as one piece with this.
local function decide(conf, settings, received, truncated)
  local question, reply = request.question(conf, service_name(conf), received, truncated)
  local err
  if not reply then
    reply, err = judge(conf, settings, question)
  end
  local nobody = reply and reply.status == 401 and conf.anonymous
  if conf.hide_credentials then -- also where it ends here, since Kong's logs tell a request's cookies
    request.hide_credentials(conf, received, nobody)
  end
  if not reply then
    return unavailable(settings, question, received, err)
  end
  local status = reply.status
  if status == 200 then
    return let_application_through(conf, settings, question, received, reply)
  end
  if nobody then
    return let_anonymous_through(conf, settings, question, received, reply)
  end
  if status == 404 then
    return unavailable(settings, question, received,
      "the sidecar does not know every strategy of '" .. settings.strategy .. "'")
  end
  if status == 503 then
    return unavailable(settings, question, received, "the sidecar answered 503", reply)
  end
  facts.tell(settings, question, "denied", status, reply)
  return denial.pass_on(conf, received, reply)
end

-- Lets a request pass that this plugin does not judge.
local function stand_aside(conf, received, passed)
  if not conf.hide_credentials then
    return
  end
  if passed then -- its Authorization is what the other plugin has judged
    return request.hide_session(conf, received)
  end
  return request.hide_credentials(conf, received)
end

-- The access phase.
function _M.execute(conf)
  local settings = settings_of(conf)
  local preflight = not conf.run_on_preflight and kong.request.get_method() == "OPTIONS"
  -- Passed by another plugin: Kong's logical OR.
  local passed = (preflight or conf.anonymous) and kong.client.get_credential()
  local received, truncated = identity.clear(settings.names, kong.request.get_headers(request.MAX_HEADERS),
    request.MAX_HEADERS, passed)
  if identity.named_in_connection(settings.names, received) then
    facts.tell(settings, { service = service_name(conf), latency_ms = 0, cached = false }, "denied", 400)
    return denial.bad_request(received)
  end
  if passed or preflight then
    return stand_aside(conf, received, passed)
  end
  return decide(conf, settings, received, truncated)
end

return _M
