-- Promise: a client that does not pass gets a proper answer of HTTP or gRPC, which tells it no more than the sidecar
-- means to tell.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"

local PROBLEM = '{"type":"about:blank","title":"Unauthorized","status":401,"reason":"token_expired"}'

describe("a client", function()
  local gateway, denial

  before_each(function()
    gateway = gateways.start()
    denial = fresh "denial"
  end)

  after_each(gateways.stop)

  local function pass_on(given, realm, received)
    local reply = { status = 401, body = PROBLEM, content_type = "application/problem+json" }
    for name, value in pairs(given or {}) do
      reply[name] = value
    end
    assert.equal("the request has ended", denial.pass_on({ realm = realm }, received or {}, reply))
    return gateway.answer
  end

  it("gets the sidecar's own refusal", function()
    assert.same({ status = 401, body = PROBLEM, headers = {
      ["Content-Type"] = "application/problem+json", ["WWW-Authenticate"] = 'Bearer realm="azure"',
    } }, pass_on { challenge = 'Bearer realm="azure"' })
    assert.same({ status = 429, body = "", headers = { ["Retry-After"] = "7" } },
      (function()
        denial.pass_on({}, {}, { status = 429, body = "", retry_after = "7" })
        return gateway.answer
      end)())
  end)

  it("gets no cookie, no identity and no age of it", function()
    local headers = pass_on { set_cookies = { "a=1" }, max_age = 30, identity = { ["X-Application-Id"] = "a" } }.headers
    assert.same({ ["Content-Type"] = "application/problem+json" }, headers)
  end)

  for name, case in pairs {
    ["in place of the strategy's"] = { 'Bearer realm="azure", error="invalid_token"', "Orders",
      'Bearer realm="Orders", error="invalid_token"' },
    ["in every challenge"] = { 'Bearer realm="azure", Basic realm="azure", charset="UTF-8"', "Orders",
      'Bearer realm="Orders", Basic realm="Orders", charset="UTF-8"' },
    ["with percent signs"] = { 'Bearer realm="azure"', "100% %1 %%0", 'Bearer realm="100% %1 %%0"' },
    ["where there was none"] = { 'Bearer error="invalid_request"', "Orders",
      'Bearer realm="Orders", error="invalid_request"' },
    ["with percent signs where there was none"] = { 'Bearer error="invalid_request"', "%1%",
      'Bearer realm="%1%", error="invalid_request"' },
    ["behind a scheme alone"] = { "Bearer", "Orders", 'Bearer realm="Orders"' },
    ["nowhere in what cannot be told apart"] = { "Bearer, Negotiate", "Orders", "Bearer, Negotiate" },
    ["that was empty"] = { 'Bearer realm=""', "Orders", 'Bearer realm="Orders"' },
    ["that is the strategy's"] = { 'Bearer realm="100%"', nil, 'Bearer realm="100%"' },
  } do
    it("sees the realm " .. name, function()
      assert.equal(case[3], pass_on({ challenge = case[1] }, case[2]).headers["WWW-Authenticate"])
    end)
  end

  it("sees no realm without a challenge", function()
    assert.is_nil(pass_on({ status = 403 }, "Orders").headers["WWW-Authenticate"])
  end)

  it("gets a challenge and a reason for what needs no sidecar", function()
    for reason, refusal in pairs { malformed_credential = denial.MALFORMED, multiple_credentials = denial.MULTIPLE } do
      assert.equal(401, refusal.status)
      local answer = pass_on(refusal)
      assert.matches('"reason":"' .. reason .. '"', answer.body)
      assert.equal("application/problem+json", answer.headers["Content-Type"])
      assert.equal('Bearer error="invalid_request"', answer.headers["WWW-Authenticate"])
    end
  end)

  it("is asked to come back where nothing could be judged", function()
    denial.unavailable({})
    assert.equal(503, gateway.answer.status)
    assert.same({ ["Content-Type"] = "application/problem+json", ["Retry-After"] = "5" }, gateway.answer.headers)
    assert.matches('"status":503', gateway.answer.body)
    assert.is_nil(gateway.answer.body:find("reason", 1, true))
  end)

  it("hears of the identity provider, and of nothing else that the sidecar lacks", function()
    for reason, heard in pairs { idp_unavailable = true, store_unavailable = false, ["idp_unavailable_x"] = false } do
      denial.unavailable({}, { status = 503, body = '{"reason":"' .. reason .. '"}', retry_after = "17" })
      assert.equal("17", gateway.answer.headers["Retry-After"])
      assert.equal(heard, gateway.answer.body:find('"reason":"idp_unavailable"', 1, true) ~= nil)
      assert.is_nil(gateway.answer.body:find("store", 1, true))
    end
    denial.unavailable({}, { status = 503, body = "" })
    assert.equal("5", gateway.answer.headers["Retry-After"])
  end)

  it("without a consumer gets 403, and of a misconfiguration 500", function()
    for status, answer in pairs { [403] = denial.no_consumer, [500] = denial.misconfigured } do
      assert.equal("the request has ended", answer({}))
      assert.equal(status, gateway.answer.status)
      assert.matches('"status":' .. status, gateway.answer.body)
      assert.same({ ["Content-Type"] = "application/problem+json" }, gateway.answer.headers)
    end
  end)

  describe("of gRPC", function()
    local function deny(received)
      for status, answer in pairs {
        [401] = function()
          denial.pass_on({}, received, { status = 401, body = PROBLEM, content_type = "application/problem+json",
            challenge = "Bearer", retry_after = "1" })
        end,
        [503] = function()
          denial.unavailable(received)
        end,
        [403] = function()
          denial.no_consumer(received)
        end,
        [500] = function()
          denial.misconfigured(received)
        end,
        [429] = function()
          denial.pass_on({}, received, { status = 429, body = PROBLEM, content_type = "application/problem+json" })
        end,
      } do
        answer()
        assert.equal(status, gateway.answer.status)
        coroutine.yield(gateway.answer)
      end
    end

    local function answers(received)
      return coroutine.wrap(function()
        deny(received)
      end)
    end

    it("gets one sentence and no Content-Type, of which Kong makes a status and a message", function()
      gateway.http_version = 2
      for _, content_type in ipairs { "application/grpc", "application/grpc+proto" } do
        local seen = 0
        for answer in answers { ["content-type"] = content_type } do
          assert.is_nil(answer.headers["Content-Type"])
          assert.matches("^[%w ,;]+%.?[%w ,;]*%.$", answer.body)
          assert.is_nil(answer.body:find("[{\"]"))
          seen = seen + 1
        end
        assert.equal(5, seen)
      end
    end)

    it("keeps its challenge", function()
      gateway.http_version = 2
      local answer = pass_on({ challenge = "Bearer" }, nil, { ["content-type"] = "application/grpc" })
      assert.equal("Bearer", answer.headers["WWW-Authenticate"])
    end)

    it("is none over HTTP/1.1, or with another or a repeated type", function()
      for _, case in ipairs {
        { 1.1, "application/grpc" }, { 1.0, "application/grpc" }, { 2, "application/json" }, { 2, nil },
        { 2, { "application/grpc", "application/grpc" } }, { 2, "text/application/grpc" },
      } do
        gateway.http_version = case[1]
        for answer in answers { ["content-type"] = case[2] } do
          assert.equal("application/problem+json", answer.headers["Content-Type"])
          assert.equal("{", answer.body:sub(1, 1))
        end
      end
    end)
  end)
end)
