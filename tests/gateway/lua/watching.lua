-- Law of this file: what is written down of a request for tests to read, a line of JSON each: its entry for Kong's
-- logging plugins, and its spans.

local json = require "json"

local find, gsub, format, io, pairs, type = string.find, string.gsub, string.format, io, pairs, type

local _M = {}

local requests, spans

-- For init_worker_by_lua.
function _M.open(directory)
  requests, spans = io.open(directory .. "/requests.jsonl", "a"), io.open(directory .. "/spans.jsonl", "a")
end

local function write(file, value)
  file:write(json.encode(value), "\n")
  file:flush()
end

local function hex(bytes)
  return bytes and gsub(bytes, ".", function(char)
    return format("%02x", char:byte())
  end)
end

function _M.write_request()
  write(requests, kong.log.serialize())
end

function _M.write_spans()
  kong.tracing.process_span(function(span)
    local attributes = {}
    for name, value in pairs(span.attributes or {}) do
      attributes[name] = type(value) == "table" and json.encode(value) or value
    end
    write(spans, {
      name = span.name, kind = span.kind, trace_id = hex(span.trace_id), span_id = hex(span.span_id),
      parent_id = hex(span.parent_id), sampled = span.should_sample, attributes = attributes, status = span.status,
      events = span.events, ended = span.end_time_ns ~= nil, of_the_gateway = find(span.name, "^kong") ~= nil,
    })
  end)
end

return _M
