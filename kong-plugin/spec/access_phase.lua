-- Law of this file: a request through the plugin's own access phase, in which only the sidecar and Kong are stood in
-- for.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"
local parse = require("kong.plugins.credential-validator.reply").parse

local EVIL = {
  "x-application-id", "x_application_id", "x-application-name", "x-credential-identifier", "x-credential_identifier",
  "x-auth-method", "x-session-id", "x-application-groups", "x-consumer-id", "x_consumer-id", "x-consumer-custom-id",
  "x-consumer-username", "x-consumer-groups", "x-anonymous-consumer", "x-authenticated-groups", "x-claim", "x_claim",
}

local _M = {}

-- The sidecar's reply that refuses.
function _M.problem(status, reason, headers)
  local body = '{"reason":"' .. reason .. '"}'
  return "HTTP/1.1 " .. status .. " x\r\nContent-Type: application/problem+json\r\n" .. (headers or "")
    .. "Content-Length: " .. #body .. "\r\n\r\n" .. body
end

-- Its reply that allows.
function _M.allowed(method, headers)
  return "HTTP/1.1 200 OK\r\nX-Application-Id: app-1\r\nX-Application-Name: Orders\r\n"
    .. "X-Credential-Identifier: client-1\r\nX-Auth-Method: " .. method .. "\r\n" .. (headers or "")
    .. "Content-Length: 0\r\n\r\n"
end

-- `answer`: what the sidecar says, a reply or why there is none; `asked`: the requests that it got.
function _M.start()
  local gateway = gateways.start()
  gateway.service = { name = "orders" }
  local run = { gateway = gateway, asked = {}, answer = _M.allowed("bearer") }
  run.conf = {
    __plugin_id = "p1", validator_url = "http://127.0.0.1:8100", strategy = "azure", timeout_ms = 3000,
    hide_credentials = true, session_cookie_name = "__Host-session", decision_cache_ttl_s = 0,
    consumer_value = "application_id", run_on_preflight = true, upstream_headers = { "X-Claim" },
  }
  local access, loaded = fresh("access", {
    ["resty.sha256"] = gateway.sha256,
    exchange = { ask = function(_, _, request)
      run.asked[#run.asked + 1] = request
      gateway.time = gateway.time + 0.0125
      if run.answer:sub(1, 5) ~= "HTTP/" then
        return nil, run.answer
      end
      return assert(parse(run.answer))
    end },
  })
  run.access, run.pass_on = access, loaded.session.pass_on

  -- With every header that a client should not set, and the given ones; false takes one away.
  function run.execute(headers)
    local received = { accept = "*", authorization = "Bearer secret", cookie = "a=1; __Host-session=secret" }
    for _, name in ipairs(EVIL) do
      received[name] = "evil"
    end
    for name, value in pairs(headers or {}) do
      received[name] = value or nil
    end
    gateways.receive(gateway, received)
    gateway.answer, gateway.authenticated = nil, nil
    return access.execute(run.conf)
  end

  function run.logged()
    return table.concat(gateway.log, "\n")
  end

  -- What other plugins and logs know.
  function run.known()
    assert(gateway.shared.credential_validator == gateway.serialized.credential_validator)
    return gateway.shared.credential_validator
  end

  function run.shows_no_evil()
    for name, value in pairs(gateway.upstream) do
      assert(value ~= "evil", name)
    end
  end

  -- The request has ended with that status, and nothing of it went any further.
  function run.is_ended_with(status)
    assert(gateway.answer.status == status, "it ended with " .. gateway.answer.status)
    assert(not gateway.authenticated, "somebody was authenticated")
    run.shows_no_evil()
    assert(run.known().status == status, "others know another status")
    assert(not run.logged():find("secret", 1, true), "a secret was logged")
    gateway.response = {}
    run.pass_on()
    assert(next(gateway.response) == nil, "the response was changed")
  end

  return run
end

return _M
