-- Law of this file: what counts as a well-formed reply of the sidecar (RFC 9112), decided from bytes alone, without
-- ngx and kong. Everything that is not exactly as agreed is refused: a gateway that guesses lets strangers in.

local concat = table.concat
local find, lower, match, sub = string.find, string.lower, string.match, string.sub
local min, pairs, setmetatable, tonumber = math.min, pairs, setmetatable, tonumber

local MAX_HEAD_BYTES = 16384 -- nginx and Node.js bound a header block alike
local MAX_HEADER_LINES = 64
local MAX_BODY_BYTES = 65536 -- a problem body has a few hundred bytes
local MAX_IDENTITY_BYTES = 1024
local MAX_SET_COOKIES = 4
local MAX_AGE_S = 31536000
local MAX_KEPT = 2048 -- of what was judged before; some hundred applications' lines
local MAX_KEPT_BYTES = 512 -- of one of them

local PREFIX = "HTTP/1.1 "
local CONTROL_BUT_TAB = "[%z\1-\8\10-\31\127]"
local TOKEN_LINE = "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.*)$"

local STATUSES = { [200] = true, [401] = true, [403] = true, [404] = true, [429] = true, [503] = true }
local METHODS = { bearer = true, client_credentials = true, session = true }

local IDENTITY = {
  ["x-application-id"] = "X-Application-Id",
  ["x-application-name"] = "X-Application-Name",
  ["x-credential-identifier"] = "X-Credential-Identifier",
  ["x-auth-method"] = "X-Auth-Method",
}
local SINGLE = {
  ["content-length"] = true,
  ["content-type"] = true,
  ["retry-after"] = true,
  ["transfer-encoding"] = true,
}
local LISTED = { ["cache-control"] = true, ["connection"] = true, ["www-authenticate"] = true }

local IDENTITY_NAMES = {}
for name in pairs(IDENTITY) do
  IDENTITY_NAMES[#IDENTITY_NAMES + 1] = name
end

-- What was judged before, in two generations of bounded size: what is asked for again stays.
local Kept = {}
Kept.__index = Kept

function Kept.new()
  return setmetatable({ young = {}, old = {}, count = 0 }, Kept)
end

function Kept:get(key)
  local value = self.young[key]
  if value ~= nil then
    return value
  end
  value = self.old[key]
  if value ~= nil then
    self:put(key, value)
  end
  return value
end

function Kept:put(key, value)
  if self.count >= MAX_KEPT / 2 then
    self.old, self.young, self.count = self.young, {}, 0
  end
  self.young[key] = value
  self.count = self.count + 1
end

local lines_judged, statuses_judged, ages_judged, rendered_judged = Kept.new(), Kept.new(), Kept.new(), Kept.new()

local _M = {}

-- Seconds for which the reply may be reused; 0 where nothing says so (RFC 9111 section 5.2.2).
local function judge_max_age(cache_control)
  local value = "," .. lower(cache_control)
  if find(value, "[,%s]no%-store") or find(value, "[,%s]no%-cache") then
    return 0
  end
  local seconds = match(value, "[,%s]max%-age=(%d+)")
  return seconds and min(tonumber(seconds), MAX_AGE_S) or 0
end

local function max_age(cache_control)
  local seconds = ages_judged:get(cache_control)
  if not seconds then
    seconds = judge_max_age(cache_control)
    if #cache_control <= MAX_KEPT_BYTES then
      ages_judged:put(cache_control, seconds)
    end
  end
  return seconds
end

-- What one header line says, { name, value, unfit }, from its bytes alone; or nil and why it is none. `unfit`: why
-- the value cannot be a part of an identity.
local function judge_line(line)
  if find(line, CONTROL_BUT_TAB) then
    return nil, "a control character in the head"
  end
  local name, value = match(line, TOKEN_LINE)
  if not name then
    return nil, "a line of the head is no header"
  end
  name, value = lower(name), match(value, "^(.-)[ \t]*$")
  local unfit
  if IDENTITY[name] then
    unfit = #value > MAX_IDENTITY_BYTES and "oversized " .. IDENTITY[name]
      or find(value, "%c") and "a control character in " .. IDENTITY[name]
  end
  return { name = name, value = value, unfit = unfit or nil }
end

-- A sidecar sends the same few lines again and again, and the same bytes always mean the same. Cookies are secrets
-- and come once: they are not kept.
local function read_line(line)
  local header = lines_judged:get(line)
  if header then
    return header
  end
  local why
  header, why = judge_line(line)
  if header and header.name ~= "set-cookie" and #line <= MAX_KEPT_BYTES then
    lines_judged:put(line, header)
  end
  return header, why
end

-- One header into what is known so far; returns why not, or nil.
local function take(header, known, cookies)
  local name, value = header.name, header.value
  if name == "set-cookie" then
    cookies[#cookies + 1] = value
    return #cookies > MAX_SET_COOKIES and "too many Set-Cookie headers" or nil
  end
  if LISTED[name] then
    known[name] = known[name] and (known[name] .. ", " .. value) or value
  elseif SINGLE[name] or IDENTITY[name] then
    if known[name] then
      return "repeated " .. name
    end
    known[name] = value
    known.unfit = known.unfit or header.unfit
  end
  return nil
end

-- The header lines of `bytes` from `at` until `last`, the end of the last line; known, cookies, or nil and why.
local function read_headers(bytes, at, last)
  local known, cookies, count = {}, {}, 0
  while at <= last do
    local line_end = find(bytes, "\r\n", at, true)
    count = count + 1
    if count > MAX_HEADER_LINES then
      return nil, "too many header lines"
    end
    local header, why = read_line(sub(bytes, at, line_end - 1))
    why = why or take(header, known, cookies)
    if why then
      return nil, why
    end
    at = line_end + 2
  end
  return known, cookies
end

local function read_identity(known)
  if known.unfit then
    return nil, known.unfit
  end
  local identity = {}
  for at = 1, #IDENTITY_NAMES do
    local name = IDENTITY_NAMES[at]
    local value = known[name]
    if not value then
      return nil, "no " .. IDENTITY[name]
    end
    identity[IDENTITY[name]] = value
  end
  if identity["X-Application-Id"] == "" or identity["X-Credential-Identifier"] == "" then
    return nil, "an empty identity"
  end
  if not METHODS[identity["X-Auth-Method"]] then
    return nil, "an unknown X-Auth-Method"
  end
  return identity
end

local function body_length(known)
  if known["transfer-encoding"] then
    return nil, "a Transfer-Encoding"
  end
  local length = known["content-length"]
  if not length or not find(length, "^%d+$") or #length > 9 then
    return nil, "no valid Content-Length"
  end
  length = tonumber(length)
  if length > MAX_BODY_BYTES then
    return nil, "the body is too long"
  end
  return length
end

-- The status that a status line names, or nil and why not.
local function read_status(line)
  local status = statuses_judged:get(line)
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
    statuses_judged:put(line, status)
  end
  return status
end

-- Status line and headers of `bytes` until `last`, the line end of the last header; or nil and why.
local function read_head(bytes, last)
  local status_end = find(bytes, "\r\n", 1, true)
  local status, status_err = read_status(sub(bytes, 1, status_end - 1))
  if not status then
    return nil, status_err
  end
  local known, cookies = read_headers(bytes, status_end + 2, last)
  if not known then
    return nil, cookies
  end
  local length, length_err = body_length(known)
  if not length then
    return nil, length_err
  end
  if known["retry-after"] and not find(known["retry-after"], "^%d+$") then
    return nil, "Retry-After is not in seconds"
  end
  local connection = known["connection"]
  return {
    status = status,
    content_type = known["content-type"],
    challenge = known["www-authenticate"],
    retry_after = known["retry-after"],
    set_cookies = cookies[1] and cookies or nil,
    max_age = known["cache-control"] and max_age(known["cache-control"]) or 0,
    keep_alive = not (connection and find(lower(connection), "close", 1, true)),
  }, known, length
end

-- Returns the reply once `bytes` hold all of it; nil alone while more is needed; nil and why when no further byte
-- can make it well-formed.
function _M.parse(bytes)
  if sub(bytes, 1, #PREFIX) ~= sub(PREFIX, 1, #bytes) then
    return nil, "not HTTP/1.1"
  end
  local head_end = find(bytes, "\r\n\r\n", 1, true)
  if (head_end or #bytes) > MAX_HEAD_BYTES then
    return nil, "the head is too long"
  end
  if not head_end then
    return nil
  end
  local reply, known, length = read_head(bytes, head_end + 1)
  if not reply then
    return nil, known
  end
  if reply.status == 200 then
    local identity, identity_err = read_identity(known)
    if not identity then
      return nil, identity_err
    end
    reply.identity = identity
  end
  local missing = head_end + 3 + length - #bytes
  if missing < 0 then
    return nil, "longer than its Content-Length"
  end
  if missing > 0 then
    return nil
  end
  reply.body = sub(bytes, head_end + 4)
  return reply
end

-- The reply as bytes that `parse` takes again, for a cache: without cookies, which belong to one answer alone.
function _M.render(reply)
  local lines = { PREFIX .. reply.status .. " " }
  for _, name in pairs(IDENTITY) do
    lines[#lines + 1] = reply.identity and (name .. ": " .. reply.identity[name]) or nil
  end
  lines[#lines + 1] = reply.content_type and ("Content-Type: " .. reply.content_type) or nil
  lines[#lines + 1] = reply.challenge and ("WWW-Authenticate: " .. reply.challenge) or nil
  lines[#lines + 1] = reply.retry_after and ("Retry-After: " .. reply.retry_after) or nil
  lines[#lines + 1] = "Content-Length: " .. #reply.body
  return concat(lines, "\r\n") .. "\r\n\r\n" .. reply.body
end

-- What `parse` makes of bytes that are alike, once for all of them: a worker that holds the answers to thousands of one
-- application's credentials has one reply in them. Nobody writes to it.
function _M.parse_rendered(bytes)
  local reply, why = rendered_judged:get(bytes), nil
  if not reply then
    reply, why = _M.parse(bytes)
    if reply and #bytes <= MAX_KEPT_BYTES then
      rendered_judged:put(bytes, reply)
    end
  end
  return reply, why
end

return _M
