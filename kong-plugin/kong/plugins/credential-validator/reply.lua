-- Law of this file: what counts as a well-formed reply of the sidecar (RFC 9112), decided from bytes alone, without
-- ngx and kong. Everything that is not exactly as agreed is refused: a gateway that guesses lets strangers in.

local concat = table.concat
local find, gmatch, lower, match, sub = string.find, string.gmatch, string.lower, string.match, string.sub
local min, tonumber = math.min, tonumber

local MAX_HEAD_BYTES = 16384 -- nginx and Node.js bound a header block alike
local MAX_HEADER_LINES = 64
local MAX_BODY_BYTES = 65536 -- a problem body has a few hundred bytes
local MAX_IDENTITY_BYTES = 1024
local MAX_SET_COOKIES = 4
local MAX_AGE_S = 31536000

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

local _M = {}

-- Seconds for which the reply may be reused; 0 where nothing says so (RFC 9111 section 5.2.2).
local function max_age(cache_control)
  if not cache_control then
    return 0
  end
  local value = "," .. lower(cache_control)
  if find(value, "[,%s]no%-store") or find(value, "[,%s]no%-cache") then
    return 0
  end
  local seconds = match(value, "[,%s]max%-age=(%d+)")
  return seconds and min(tonumber(seconds), MAX_AGE_S) or 0
end

-- One header line into what is known so far; returns why not, or nil.
local function take(line, known, cookies)
  if find(line, CONTROL_BUT_TAB) then
    return "a control character in the head"
  end
  local name, value = match(line, TOKEN_LINE)
  if not name then
    return "a line of the head is no header"
  end
  name, value = lower(name), match(value, "^(.-)[ \t]*$")
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
  end
  return nil
end

-- The header lines between the status line and the empty line; known, cookies, or nil and why.
local function read_headers(lines)
  local known, cookies, count = {}, {}, 0
  for line in gmatch(lines, "(.-)\r\n") do
    count = count + 1
    local why = count > MAX_HEADER_LINES and "too many header lines" or take(line, known, cookies)
    if why then
      return nil, why
    end
  end
  return known, cookies
end

local function read_identity(known)
  local identity = {}
  for key, name in pairs(IDENTITY) do
    local value = known[key]
    if not value then
      return nil, "no " .. name
    end
    if #value > MAX_IDENTITY_BYTES then
      return nil, "oversized " .. name
    end
    if find(value, "%c") then
      return nil, "a control character in " .. name
    end
    identity[name] = value
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

-- Status line and headers, `head` ending with the line end of the last one; or nil and why.
local function read_head(head)
  local status_end = find(head, "\r\n", 1, true)
  local status, phrase = match(sub(head, 1, status_end - 1), "^HTTP/1%.1 (%d%d%d) (.*)$")
  if not status or find(phrase, CONTROL_BUT_TAB) then
    return nil, "no status line"
  end
  if not STATUSES[tonumber(status)] then
    return nil, "status " .. status
  end
  local known, cookies = read_headers(sub(head, status_end + 2))
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
  return {
    status = tonumber(status),
    content_type = known["content-type"],
    challenge = known["www-authenticate"],
    retry_after = known["retry-after"],
    set_cookies = cookies[1] and cookies or nil,
    max_age = max_age(known["cache-control"]),
    keep_alive = not find(lower(known["connection"] or ""), "close", 1, true),
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
  local reply, known, length = read_head(sub(bytes, 1, head_end + 1))
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

return _M
