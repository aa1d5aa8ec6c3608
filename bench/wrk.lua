-- wrk's side of the benchmark: sends the given headers in turn and prints what came of it as one line of JSON.
-- wrk ... -s wrk.lua URL -- FILE_WITH_ONE_HEADER_A_LINE [once]
-- once: no line is sent twice, the first not at all (it was for trying); the thread stops when they run out.
-- luacheck: globals wrk init request done

local requests = {}
local next_one = 0
local once = false

function init(args)
  once = args[2] == "once"
  if once then next_one = 1 end
  for line in io.lines(args[1]) do
    local name, value = line:match("^([^:]+): (.*)$")
    requests[#requests + 1] = wrk.format("GET", nil, { [name] = value })
  end
end

function request()
  if once and next_one == #requests then
    wrk.thread:stop()
    return requests[1] -- what may still be sent before it has stopped
  end
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_s": %.6f, "refused": %d, "broken": %d, '
      .. '"p50_us": %d, "p99_us": %d, "p999_us": %d, "max_us": %d}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
