-- Promise: only a well-formed traceparent is passed on, the call is a span of the request's own trace, and no trace
-- ever keeps a request from being judged.

local tracing = require "kong.plugins.credential-validator.tracing"

local TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
local TRACEPARENT = "00-" .. TRACE .. "-" .. PARENT .. "-01"

local function new_span(fields)
  local span = {
    trace_id = ("\171"):rep(16), span_id = ("\1"):rep(7) .. "\255", is_recording = true, should_sample = true,
    attributes = {}, finished = 0,
  }
  for name, value in pairs(fields or {}) do
    span[name] = value
  end
  function span:set_attribute(name, value)
    assert.is_not_nil(value)
    self.attributes[name] = value
  end
  function span:set_status(status)
    self.status = status
  end
  function span:finish()
    self.finished = self.finished + 1
  end
  return span
end

-- Kong traces, and the next span is this one.
local function traces(span, active)
  _G.kong = { tracing = {
    active_span = function()
      return active
    end,
    start_span = function(name, options)
      assert.equal("credential-validator", name)
      assert.equal(3, options.span_kind)
      return span
    end,
  } }
end

describe("a traceparent of the client's", function()
  before_each(function()
    _G.kong = {}
  end)

  after_each(function()
    _G.kong = nil
  end)

  it("is passed on as it is where Kong does not trace", function()
    local span, traceparent = tracing.begin({ traceparent = TRACEPARENT })
    assert.is_nil(span)
    assert.equal(TRACEPARENT, traceparent)
  end)

  for name, value in pairs {
    ["capitals"] = TRACEPARENT:upper(),
    ["a trace of zeros"] = "00-" .. ("0"):rep(32) .. "-" .. PARENT .. "-01",
    ["a parent of zeros"] = "00-" .. TRACE .. "-" .. ("0"):rep(16) .. "-01",
    ["the version that is none"] = "ff" .. TRACEPARENT:sub(3),
    ["nothing"] = "", ["a short one"] = TRACEPARENT:sub(1, -2), ["a long one"] = TRACEPARENT .. "0",
    ["more than is known"] = TRACEPARENT .. "-01", ["no version"] = TRACEPARENT:sub(4),
    ["a repeated one"] = { TRACEPARENT, TRACEPARENT },
    ["a short parent"] = "00-" .. TRACE .. "-" .. PARENT:sub(2) .. "-01",
    ["a long parent"] = "00-" .. TRACE .. "-0" .. PARENT .. "-01",
    ["a hyphen too early"] = "00-" .. TRACE:sub(2) .. "-0" .. PARENT .. "-01",
    ["a hyphen too late"] = "00-" .. TRACE .. "0-" .. PARENT:sub(2) .. "-01",
    ["a hyphen too many"] = "00-" .. TRACE:sub(2) .. "--" .. PARENT .. "-01",
    ["no hexadecimal trace"] = TRACEPARENT:gsub("4bf9", "4bg9"),
    ["no hexadecimal parent"] = TRACEPARENT:gsub("b7%-", "bx-"),
    ["no hexadecimal flags"] = TRACEPARENT:gsub("01$", "0z"),
    ["no hexadecimal version"] = TRACEPARENT:gsub("^00", "0x"),
    ["an end of a line"] = TRACEPARENT:gsub("01$", "\r\n"), ["a line feed within"] = TRACEPARENT:gsub("4bf9", "4b\n9"),
    ["a space before"] = " " .. TRACEPARENT:sub(2), ["spaces for hyphens"] = TRACEPARENT:gsub("%-", " "),
    ["a trace's other end"] = TRACEPARENT:gsub("%-00f0", "-0\0f0"),
  } do
    it("is none when it is " .. name, function()
      assert.is_nil(select(2, tracing.begin({ traceparent = value })))
    end)
  end

  it("is none at any byte that is neither hexadecimal nor the hyphen of its place", function()
    for at = 1, #TRACEPARENT do
      for _, byte in ipairs { "\r", "\n", "\0", "\127", " ", "g", "-", "é", ":" } do
        if TRACEPARENT:sub(at, at) ~= byte then
          local bent = TRACEPARENT:sub(1, at - 1) .. byte .. TRACEPARENT:sub(at + 1)
          assert.is_nil(select(2, tracing.begin({ traceparent = bent })), ("%q"):format(bent))
        end
      end
    end
  end)

  it("is looked for under its own name alone", function()
    local received = setmetatable({}, { __index = function()
      error("another spelling was tried")
    end })
    assert.is_nil(select(2, tracing.begin(received)))
  end)
end)

describe("the call", function()
  after_each(function()
    _G.kong = nil
  end)

  it("is a span whose traceparent the sidecar sees", function()
    local span = new_span()
    traces(span, {})
    local begun, traceparent = tracing.begin({})
    assert.equal(span, begun)
    assert.equal("00-" .. ("ab"):rep(16) .. "-" .. ("01"):rep(7) .. "ff-01", traceparent)
  end)

  it("belongs to the client's trace where there is one, sampled as the client says", function()
    for _, flags in ipairs { "00", "01" } do
      traces(new_span(), {})
      local _, traceparent = tracing.begin({ traceparent = (TRACEPARENT:gsub("01$", flags)) })
      assert.equal("00-" .. TRACE .. "-" .. ("01"):rep(7) .. "ff-" .. flags, traceparent)
    end
  end)

  it("takes nothing from a malformed traceparent", function()
    traces(new_span(), {})
    local _, traceparent = tracing.begin({ traceparent = TRACEPARENT:gsub("4bf9", "4\r\n9") })
    assert.matches("^00%-" .. ("ab"):rep(16) .. "%-", traceparent)
  end)

  it("has a span and no traceparent where the trace's id is none of W3C's", function()
    for _, trace_id in ipairs { "8 bytes ", 7, {} } do
      local span = new_span { trace_id = trace_id }
      traces(span, {})
      local begun, traceparent = tracing.begin({})
      assert.equal(span, begun)
      assert.is_nil(traceparent)
    end
  end)

  for name, given in pairs {
    ["Kong has no tracing"] = {},
    ["no span is active"] = { tracing = { active_span = function() end, start_span = function()
      error("a span was started")
    end } },
    ["Kong gives none"] = { tracing = { start_span = function() end } },
    ["the span records nothing"] = { tracing = { start_span = function()
      return new_span { is_recording = false }
    end } },
  } do
    it("is no span where " .. name .. ", and the client's traceparent is passed on", function()
      _G.kong = given
      local span, traceparent = tracing.begin({ traceparent = TRACEPARENT })
      assert.is_nil(span)
      assert.equal(TRACEPARENT, traceparent)
    end)
  end

  it("is a span also of a request that is not sampled, as a later plugin may decide otherwise", function()
    local span = new_span { should_sample = false }
    traces(span, {})
    local begun, traceparent = tracing.begin({})
    assert.equal(span, begun)
    assert.matches("%-00$", traceparent)
  end)

  it("is a span where nobody can say which one is active", function()
    local span = new_span()
    traces(span)
    _G.kong.tracing.active_span = nil
    assert.equal(span, (tracing.begin({})))
  end)

  it("ends with the reply's status", function()
    local span = new_span()
    tracing.finish(span, { status = 403 })
    assert.same({ ["http.status_code"] = 403 }, span.attributes)
    assert.is_nil(span.status)
    assert.equal(1, span.finished)
  end)

  it("ends as an error where there is no reply", function()
    local span = new_span()
    tracing.finish(span, nil, "timeout")
    assert.same({ ["error.message"] = "timeout" }, span.attributes)
    assert.equal(2, span.status)
    assert.equal(1, span.finished)
  end)
end)
