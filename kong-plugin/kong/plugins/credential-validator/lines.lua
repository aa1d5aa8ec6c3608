-- Law of this file: what one line of a reply's head says (RFC 9112), from its bytes alone, without ngx and kong.
-- Everything that is not exactly as agreed is refused: a gateway that guesses lets strangers in.

local memo = require "kong.plugins.credential-validator.memo"

local find, gsub, lower, match = string.find, string.gsub, string.lower, string.match
local min, tonumber = math.min, tonumber

local MAX_VALUE_BYTES = 1024 -- of what the upstream is told
local MAX_AGE_S = 31536000
local MAX_KEPT = 2048 -- some hundred applications' lines
local MAX_KEPT_BYTES = 512 -- of one of them

local CONTROL_BUT_TAB = "[%z\1-\8\10-\31\127]"
local TOKEN_LINE = "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.*)$"

local STATUSES = { [200] = true, [401] = true, [403] = true, [404] = true, [429] = true, [503] = true }
-- By the header's name, where its value may be longer.
local MAX_BYTES = {
  ["x-application-groups"] = 4224, -- 32 of 128 bytes, their commas and spaces
  ["x-access-token"] = 8192,
}
-- Secrets that come once: they are not kept.
local SECRET = { ["set-cookie"] = true, ["x-access-token"] = true }

local lines_judged, statuses_judged, ages_judged = memo.new(MAX_KEPT), memo.new(MAX_KEPT), memo.new(MAX_KEPT)

local _M = { MAX_KEPT_BYTES = MAX_KEPT_BYTES }

-- RFC 6750 section 2.1: what can stand behind "Bearer".
local function is_token(value)
  return find(value, "^[%w._~+/-]+=*$") ~= nil
end

-- Visible characters, with ", " between one group and the next.
local function is_groups(value)
  local packed = gsub(value, ", ", ",")
  return not find(packed, "[^!-~]") and not find("," .. packed .. ",", ",,", 1, true)
end

-- By the header's name, what its value has to be.
local FORMS = { ["x-access-token"] = is_token, ["x-application-groups"] = is_groups }

local function judge(line)
  if find(line, CONTROL_BUT_TAB) then
    return nil, "a control character in the head"
  end
  local name, value = match(line, TOKEN_LINE)
  if not name then
    return nil, "a line of the head is no header"
  end
  name, value = lower(name), match(value, "^.*[^ \t]") or ""
  local unfit = #value > (MAX_BYTES[name] or MAX_VALUE_BYTES) and "oversized " .. name
    or find(value, "%c") and "a control character in " .. name
    or FORMS[name] and not FORMS[name](value) and "a malformed " .. name
  return { name = name, value = value, unfit = unfit or nil }
end

-- A header line as { name, value, unfit }, the name in lower case; or nil and why it is none. `unfit`: why the value
-- cannot be told to an upstream. A sidecar sends the same few lines again and again, and the same bytes always mean
-- the same.
function _M.header(line)
  local header = memo.get(lines_judged, line)
  if header then
    return header
  end
  local why
  header, why = judge(line)
  if header and not SECRET[header.name] and #line <= MAX_KEPT_BYTES then
    memo.put(lines_judged, line, header)
  end
  return header, why
end

-- The status that a status line names, or nil and why not.
function _M.status(line)
  local status = memo.get(statuses_judged, line)
  if status then
    return status
  end
  local digits, phrase = match(line, "^HTTP/1%.1 (%d%d%d) (.*)$")
  if not digits or find(phrase, CONTROL_BUT_TAB) then
    return nil, "no status line"
  end
  status = tonumber(digits)
  if not STATUSES[status] then
    return nil, "status " .. digits
  end
  if #line <= MAX_KEPT_BYTES then
    memo.put(statuses_judged, line, status)
  end
  return status
end

local function judge_max_age(cache_control)
  local value = "," .. lower(cache_control)
  if find(value, "[,%s]no%-store") or find(value, "[,%s]no%-cache") then
    return 0
  end
  local seconds = match(value, "[,%s]max%-age=(%d+)")
  return seconds and min(tonumber(seconds), MAX_AGE_S) or 0
end

-- Seconds for which the reply may be reused; 0 where nothing says so (RFC 9111 section 5.2.2).
function _M.max_age(cache_control)
  local seconds = memo.get(ages_judged, cache_control)
  if not seconds then
    seconds = judge_max_age(cache_control)
    if #cache_control <= MAX_KEPT_BYTES then
      memo.put(ages_judged, cache_control, seconds)
    end
  end
  return seconds
end

return _M
