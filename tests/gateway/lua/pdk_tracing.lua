-- Law of this file: kong.tracing. Off, every function does nothing and every span is the same empty one; on, spans are
-- made as Kong makes them: ids are bytes, the active span is the parent, and the log phase sees all of them.

local error, ipairs, pairs, random, select = error, ipairs, pairs, math.random, select
local setmetatable, tostring, type = setmetatable, tostring, type

local ANY_ATTRIBUTE_SINCE = 3003000 -- until then one that is no scalar was an error
local UNSAMPLED_SPAN_SINCE = 3004000 -- until then a request that is not sampled got the empty span
local UNSAMPLED_KEPT_SINCE = 3006000 -- until then no processor saw such a span
local INTERNAL = 1

local function nothing() end

local NOOP_SPAN = setmetatable({
  is_recording = false, finish = nothing, set_attribute = nothing, add_event = nothing, record_error = nothing,
  set_status = nothing, each_baggage_item = function()
    return nothing
  end,
}, { __newindex = nothing })

local function no_span()
  return NOOP_SPAN
end

local NOOP = setmetatable({
  name = "noop", start_span = no_span, create_span = no_span, active_span = nothing, set_active_span = nothing,
  process_span = nothing, link_span = nothing, set_should_sample = nothing, get_sampling_decision = nothing,
}, { __newindex = nothing })

local function bytes(count)
  local made = {}
  for at = 1, count do
    made[at] = string.char(random(0, 255))
  end
  return table.concat(made)
end

local function now_ns()
  return ngx.now() * 1e9
end

local Span = {}
Span.__index = Span

function Span:finish(end_time_ns)
  if self.end_time_ns then
    return
  elseif end_time_ns ~= nil and type(end_time_ns) ~= "number" then
    error("invalid span end time", 2)
  elseif end_time_ns and end_time_ns < self.start_time_ns then
    error("invalid span duration", 2)
  end
  self.end_time_ns = end_time_ns or now_ns()
  if self.active and self.tracer.active_span() == self then
    self.tracer.set_active_span(self.parent)
    self.active = nil
  end
end

local function check_attribute(strict, value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" or not strict and (kind == "table" or kind == "nil") then
    return
  elseif strict then
    error("invalid value", 3)
  end
  ngx.log(ngx.ERR, "invalid span attribute value type: ", kind)
end

function Span:set_attribute(key, value)
  if type(key) ~= "string" then
    error("invalid key", 2)
  end
  check_attribute(self.tracer.strict, value)
  self.attributes = self.attributes or {}
  self.attributes[key] = value
end

function Span:add_event(name, attributes, time_ns)
  if type(name) ~= "string" then
    error("invalid name", 2)
  elseif attributes ~= nil and type(attributes) ~= "table" then
    error("invalid attribute", 2)
  end
  self.events = self.events or {}
  self.events[#self.events + 1] = { name = name, attributes = attributes, time_ns = time_ns or now_ns() }
end

function Span:record_error(err)
  self:add_event("exception", { ["exception.message"] = tostring(err) })
end

function Span:set_status(status)
  if type(status) ~= "number" then
    error("invalid status", 2)
  end
  self.status = status
end

local OPTIONS = {
  start_time_ns = { "number", "invalid start time" }, span_kind = { "number", "invalid start kind" },
  should_sample = { "boolean", "invalid sampled" }, attributes = { "table", "invalid attributes" },
}

local function check_options(options)
  if options ~= nil and type(options) ~= "table" then
    error("invalid options type", 3)
  end
  for name, rule in pairs(OPTIONS) do
    local given = options and options[name]
    if given ~= nil and type(given) ~= rule[1] then
      error(rule[2], 3)
    end
  end
  return options or {}
end

local Tracer = { name = "core" }
Tracer.__index = Tracer

function Tracer.active_span()
  return ngx.ctx.KONG_active_span
end

function Tracer.set_active_span(span)
  if span then
    span.active = true
  end
  ngx.ctx.KONG_active_span = span
end

-- Every span of the request, for the log phase.
function Tracer.process_span(processor)
  if type(processor) ~= "function" then
    error("processor must be a function", 2)
  end
  for _, span in ipairs(ngx.ctx.KONG_SPANS or {}) do
    processor(span)
  end
end

local function first_given(...)
  for at = 1, select("#", ...) do
    local value = select(at, ...)
    if value ~= nil then
      return value
    end
  end
end

local function keep(seen, span)
  local ctx = ngx.ctx
  if not seen then
    return span
  end
  ctx.KONG_SPANS = ctx.KONG_SPANS or {}
  ctx.KONG_SPANS[#ctx.KONG_SPANS + 1] = span
  return span
end

-- `decide` tells whether the request of which this is the first span is sampled; nil: it is not traced at all.
local function tracer(version_num, decide)
  local self = setmetatable({ strict = version_num < ANY_ATTRIBUTE_SINCE }, Tracer)

  function self.start_span(name, options)
    local decided = decide()
    if decided == nil then
      return NOOP_SPAN
    elseif type(name) ~= "string" or name == "" then
      error("invalid span name", 2)
    end
    options = check_options(options)
    local parent = options.parent or self.active_span() or {}
    local sampled = first_given(parent.should_sample, options.should_sample, decided)
    if not sampled and version_num < UNSAMPLED_SPAN_SINCE then
      return NOOP_SPAN
    end
    return keep(sampled or version_num >= UNSAMPLED_KEPT_SINCE, setmetatable({
      tracer = self, name = name, parent = parent.span_id and parent, kind = options.span_kind or INTERNAL,
      parent_id = first_given(parent.span_id, options.parent_id), span_id = bytes(8),
      trace_id = first_given(parent.trace_id, options.trace_id) or bytes(16), should_sample = sampled,
      attributes = options.attributes, start_time_ns = options.start_time_ns or now_ns(),
    }, Span))
  end

  return self
end

return { NOOP = NOOP, tracer = tracer }
