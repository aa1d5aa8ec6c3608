-- Law of this file: the call to the sidecar as a part of the request's trace (W3C Trace Context), where there is one.

local header_in = require "kong.plugins.credential-validator.received"

local byte, find, format, gsub, match = string.byte, string.find, string.format, string.gsub, string.match
local rep, sub = string.rep, string.sub
local type = type

local HEX = "[%da-f]"
local TRACEPARENT = "^" .. rep(HEX, 2) .. "%-(" .. rep(HEX, 32) .. ")%-(" .. rep(HEX, 16) .. ")%-(" .. rep(HEX, 2)
  .. ")$"
local NOTHING = "^0+$"
local TRACE_ID_BYTES = 16
local OPTIONS = { span_kind = 3 } -- OpenTelemetry's CLIENT
local ERROR = 2 -- OpenTelemetry's status

local _M = {}

local function hex(bytes)
  return (gsub(bytes, ".", function(char)
    return format("%02x", byte(char))
  end))
end

-- The client's own, its trace id and its flags; or nil where it is not well-formed.
local function received_traceparent(received)
  local value = header_in(received, "traceparent")
  if type(value) ~= "string" then
    return nil
  end
  local trace_id, parent_id, flags = match(value, TRACEPARENT)
  if not trace_id or find(trace_id, NOTHING) or find(parent_id, NOTHING) or sub(value, 1, 2) == "ff" then
    return nil
  end
  return value, trace_id, flags
end

local function start_span()
  local tracing = kong.tracing
  if not tracing or tracing.active_span and not tracing.active_span() then
    return nil
  end
  local span = tracing.start_span("credential-validator", OPTIONS)
  -- Also one that is not sampled: the opentelemetry plugin, which runs later, may decide otherwise.
  return span and span.is_recording ~= false and span or nil
end

-- A span for the call, and the traceparent that the sidecar is to see; each nil where there is none.
function _M.begin(received)
  local client, trace_id, flags = received_traceparent(received)
  local span = start_span()
  if not span then
    return nil, client
  end
  -- The client's trace is what Kong's own plugins report in the end: they take it over after this one ran.
  if not client then
    local own = span.trace_id
    if type(own) ~= "string" or #own ~= TRACE_ID_BYTES then
      return span, nil
    end
    trace_id, flags = hex(own), span.should_sample and "01" or "00"
  end
  return span, "00-" .. trace_id .. "-" .. hex(span.span_id) .. "-" .. flags
end

-- Ends the span with what came of the call: the reply, or nil and why.
function _M.finish(span, reply, err)
  if reply then
    span:set_attribute("http.status_code", reply.status)
  else
    span:set_attribute("error.message", err or "unknown")
    span:set_status(ERROR)
  end
  span:finish()
end

return _M
