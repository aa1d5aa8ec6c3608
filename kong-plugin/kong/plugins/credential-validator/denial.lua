-- Law of this file: what a client is told when its request does not pass. Nothing here says how the sidecar fares,
-- beyond what the sidecar itself said.

local find = string.find

local PROBLEM_JSON = "application/problem+json"
local RETRY_AFTER_S = "5" -- where the sidecar names no time
local INVALID_REQUEST = 'Bearer error="invalid_request"' -- RFC 6750 section 3.1; RFC 9110 wants a challenge on a 401

local MALFORMED = '{"type":"about:blank","title":"Unauthorized","status":401,'
  .. '"detail":"A valid credential is required.","reason":"malformed_credential"}'
local MULTIPLE = '{"type":"about:blank","title":"Unauthorized","status":401,'
  .. '"detail":"A valid credential is required.","reason":"multiple_credentials"}'
local UNAVAILABLE = '{"type":"about:blank","title":"Service Unavailable","status":503,'
  .. '"detail":"The request could not be judged; try again later."}'
local IDP_UNAVAILABLE = '{"type":"about:blank","title":"Service Unavailable","status":503,'
  .. '"detail":"The request could not be judged; try again later.","reason":"idp_unavailable"}'
local MISCONFIGURED = '{"type":"about:blank","title":"Internal Server Error","status":500,'
  .. '"detail":"The gateway is not set up to answer this request."}'

local function refusal(body)
  return { status = 401, challenge = INVALID_REQUEST, content_type = PROBLEM_JSON, body = body }
end

-- Refusals that need no sidecar, in the form of its replies.
local _M = { MALFORMED = refusal(MALFORMED), MULTIPLE = refusal(MULTIPLE) }

-- Ends the request with the sidecar's 401, 403 or 429.
function _M.pass_on(reply)
  return kong.response.exit(reply.status, reply.body, {
    ["Content-Type"] = reply.content_type,
    ["WWW-Authenticate"] = reply.challenge,
    ["Retry-After"] = reply.retry_after,
  })
end

-- Ends the request with 503; `reply` is the sidecar's own 503, where it gave one.
function _M.unavailable(reply)
  local idp = reply and find(reply.body, '"reason"%s*:%s*"idp_unavailable"')
  return kong.response.exit(503, idp and IDP_UNAVAILABLE or UNAVAILABLE, {
    ["Content-Type"] = PROBLEM_JSON,
    ["Retry-After"] = reply and reply.retry_after or RETRY_AFTER_S,
  })
end

-- Ends the request with 500: the operator's log says why.
function _M.misconfigured()
  return kong.response.exit(500, MISCONFIGURED, { ["Content-Type"] = PROBLEM_JSON })
end

return _M
