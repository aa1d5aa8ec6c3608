-- Law of this file: what a client is told when its request does not pass. Nothing here says how the sidecar fares,
-- beyond what the sidecar itself said.

local header_in = require "kong.plugins.credential-validator.received"
local reason_in = require("kong.plugins.credential-validator.reply").reason_in

local find, gsub, match, sub = string.find, string.gsub, string.match, string.sub
local type = type

local PROBLEM_JSON = "application/problem+json"
local RETRY_AFTER_S = "5" -- where the sidecar names no time
local INVALID_REQUEST = 'Bearer error="invalid_request"' -- RFC 6750 section 3.1; RFC 9110 wants a challenge on a 401
local HTTP_2 = 2

local SENTENCES = {
  [400] = "Connection names a header that is not hop by hop.",
  [401] = "A valid credential is required.",
  [403] = "The application is not allowed to call this service.",
  [429] = "Too many failed tries for this client; try again later.",
  [500] = "The gateway is not set up to answer this request.",
  [503] = "The request could not be judged; try again later.",
}
local TITLES = {
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [500] = "Internal Server Error",
  [503] = "Service Unavailable",
}

local function problem(status, reason)
  return '{"type":"about:blank","title":"' .. TITLES[status] .. '","status":' .. status .. ',"detail":"'
    .. SENTENCES[status] .. '"' .. (reason and (',"reason":"' .. reason .. '"') or "") .. "}"
end

local UNAVAILABLE, IDP_UNAVAILABLE = problem(503), problem(503, "idp_unavailable")
local BAD_REQUEST, MISCONFIGURED, NO_CONSUMER = problem(400), problem(500), problem(403)

local function refusal(reason)
  return { status = 401, challenge = INVALID_REQUEST, content_type = PROBLEM_JSON, body = problem(401, reason) }
end

-- Refusals that need no sidecar, in the form of its replies.
local _M = { MALFORMED = refusal("malformed_credential"), MULTIPLE = refusal("multiple_credentials") }

local function is_grpc(received)
  local content_type = header_in(received, "content-type")
  return type(content_type) == "string" and find(content_type, "application/grpc", 1, true) == 1
    and kong.request.get_http_version() == HTTP_2
end

-- Without a Content-Type, Kong makes grpc-status and grpc-message of status and body.
local function exit(received, status, body, headers)
  if is_grpc(received) then
    headers["Content-Type"] = nil
    return kong.response.exit(status, SENTENCES[status], headers)
  end
  return kong.response.exit(status, body, headers)
end

-- RFC 9110 section 11.5: the realm is the operator's to name.
local function challenge_of(conf, reply)
  local challenge, realm = reply.challenge, conf.realm
  if not challenge or not realm then
    return challenge
  end
  local named = 'realm="' .. realm .. '"'
  local text, count = gsub(challenge, 'realm="[^"]*"', (gsub(named, "%%", "%%%%")))
  if count > 0 then
    return text
  end
  local scheme, rest = match(challenge, "^([%w-]+)(.*)$")
  if rest == "" then
    return scheme .. " " .. named
  end
  return scheme and sub(rest, 1, 1) == " " and scheme .. " " .. named .. "," .. rest or challenge
end

-- Ends the request with the sidecar's 401, 403 or 429.
function _M.pass_on(conf, received, reply)
  return exit(received, reply.status, reply.body, {
    ["Content-Type"] = reply.content_type,
    ["WWW-Authenticate"] = challenge_of(conf, reply),
    ["Retry-After"] = reply.retry_after,
  })
end

-- Ends the request with 503; `reply` is the sidecar's own 503, where it gave one.
function _M.unavailable(received, reply)
  local idp = reply and reason_in(reply.body) == "idp_unavailable"
  return exit(received, 503, idp and IDP_UNAVAILABLE or UNAVAILABLE, {
    ["Content-Type"] = PROBLEM_JSON,
    ["Retry-After"] = reply and reply.retry_after or RETRY_AFTER_S,
  })
end

-- Ends the request with 400: it asks for headers to be removed that it may not touch.
function _M.bad_request(received)
  return exit(received, 400, BAD_REQUEST, { ["Content-Type"] = PROBLEM_JSON })
end

-- Ends the request with 403: no consumer of Kong's stands for the application.
function _M.no_consumer(received)
  return exit(received, 403, NO_CONSUMER, { ["Content-Type"] = PROBLEM_JSON })
end

-- Ends the request with 500: the operator's log says why.
function _M.misconfigured(received)
  return exit(received, 500, MISCONFIGURED, { ["Content-Type"] = PROBLEM_JSON })
end

return _M
