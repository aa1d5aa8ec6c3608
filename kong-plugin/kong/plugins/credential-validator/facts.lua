-- Law of this file: what other plugins may know of a decision, in kong.ctx.shared and in Kong's log serializer: never a
-- credential, never a token.

local groups_in = require("kong.plugins.credential-validator.reply").groups_in
local reason_in = require("kong.plugins.credential-validator.reply").reason_in

local ipairs = ipairs

local NAME = "credential_validator"

local _M = {}

local function copy(list)
  local made = {}
  for at = 1, #list do
    made[at] = list[at]
  end
  return made
end

local function headers_of(settings, reply)
  local upstream, found = settings.names.upstream, nil
  for _, header in ipairs(upstream) do
    local value = reply.others and reply.others[header.lower]
    if value then
      found = found or {}
      found[header.name] = value
    end
  end
  return found
end

-- `facts` begins with what is known before anybody was asked.
function _M.new(settings, service)
  return { strategy = settings.strategy, service = service }
end

-- What a 200 says.
function _M.add_application(facts, settings, reply, consumer)
  local identity = reply.identity
  facts.application_id, facts.application_name = identity["X-Application-Id"], identity["X-Application-Name"]
  facts.credential_identifier, facts.auth_method = identity["X-Credential-Identifier"], identity["X-Auth-Method"]
  facts.session_id, facts.consumer_id = reply.session_id, consumer and consumer.id
  facts.headers = headers_of(settings, reply)
  if reply.groups then
    facts.groups = groups_in(reply.groups)
  end
end

-- Tells them, with how it ended. Called once for a request, before the answer is given.
function _M.tell(facts, outcome, status, reply)
  facts.outcome, facts.status = outcome, status
  if reply and reply.status ~= 200 then
    facts.reason = reason_in(reply.body)
  end
  local shared = kong.ctx.shared
  shared[NAME] = facts
  -- What acl reads: an application in no group is in none, and nobody who was never asked about.
  if outcome == "allowed" and not shared.authenticated_groups then
    shared.authenticated_groups = copy(facts.groups or {})
  end
  kong.log.set_serialize_value(NAME, facts)
end

return _M
