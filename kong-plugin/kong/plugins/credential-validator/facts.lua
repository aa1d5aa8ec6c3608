-- Law of this file: what other plugins may know of a decision, in kong.ctx.shared and in Kong's log serializer: never a
-- credential, never a token.

local groups_in = require("kong.plugins.credential-validator.reply").groups_in
local reason_in = require("kong.plugins.credential-validator.reply").reason_in

local ipairs = ipairs

local NAME = "credential_validator"
local NOTHING = {}

local _M = {}

local function reason_of(reply)
  return reply and reply.status ~= 200 and reason_in(reply.body) or nil
end

local function groups_of(reply)
  return reply and reply.groups and groups_in(reply.groups) or nil
end

local function headers_of(settings, reply)
  local found
  for _, header in ipairs(reply and reply.others and settings.names.upstream or NOTHING) do
    local value = reply.others[header.lower]
    if value then
      found = found or {}
      found[header.name] = value
    end
  end
  return found
end

-- Tells them, with how it ended. Called once for a request, before the answer is given.
--   question: { service, latency_ms, cached }
--   reply: the sidecar's, or nil where there is none
--   consumer: Kong's, or nil
function _M.tell(settings, question, outcome, status, reply, consumer)
  local identity = reply and reply.identity or NOTHING
  local facts = {
    outcome = outcome,
    status = status,
    reason = reason_of(reply),
    strategy = settings.strategy,
    service = question.service,
    application_id = identity["X-Application-Id"],
    application_name = identity["X-Application-Name"],
    credential_identifier = identity["X-Credential-Identifier"],
    auth_method = identity["X-Auth-Method"],
    groups = groups_of(reply),
    session_id = reply and reply.session_id,
    consumer_id = consumer and consumer.id,
    headers = headers_of(settings, reply),
    cached = question.cached,
    latency_ms = question.latency_ms,
  }
  local shared = kong.ctx.shared
  shared[NAME] = facts
  -- What acl reads: an application in no group is in none, and nobody who was never asked about.
  if outcome == "allowed" and not shared.authenticated_groups then
    shared.authenticated_groups = groups_of(reply) or {}
  end
  kong.log.set_serialize_value(NAME, facts)
end

return _M
