-- Law of this file: what counts as a well-formed reply of the sidecar (RFC 9112), decided from bytes alone, without
-- ngx and kong. Everything that is not exactly as agreed is refused: a gateway that guesses lets strangers in.

local lines = require "kong.plugins.credential-validator.lines"
local memo = require "kong.plugins.credential-validator.memo"

local concat = table.concat
local find, gmatch, lower, sub = string.find, string.gmatch, string.lower, string.sub
local pairs, tonumber = pairs, tonumber
local read_header, read_status, max_age = lines.header, lines.status, lines.max_age

local MAX_HEAD_BYTES = 32768 -- a minted token, 16 headers of the strategy's and what else there is
local MAX_HEADER_LINES = 64
local MAX_BODY_BYTES = 65536 -- a problem body has a few hundred bytes
local MAX_SET_COOKIES = 4
local MAX_KEPT = 2048

local PREFIX = "HTTP/1.1 "
local METHODS = { bearer = true, client_credentials = true, session = true }

-- What every 200 says of the application.
local FACTS = {
  ["x-application-id"] = "X-Application-Id",
  ["x-application-name"] = "X-Application-Name",
  ["x-credential-identifier"] = "X-Credential-Identifier",
  ["x-auth-method"] = "X-Auth-Method",
}
-- What it may say besides.
local TOLD = {
  ["x-access-token"] = true,
  ["x-application-groups"] = true,
  ["x-session-id"] = true,
}
local SINGLE = {
  ["content-length"] = true,
  ["content-type"] = true,
  ["retry-after"] = true,
  ["transfer-encoding"] = true,
}
local LISTED = { ["cache-control"] = true, ["connection"] = true, ["www-authenticate"] = true }

local FACT_NAMES = {}
for name in pairs(FACTS) do
  FACT_NAMES[#FACT_NAMES + 1] = name
end

local rendered_judged = memo.new(MAX_KEPT)

local _M = {}

-- A header that means something only to a configuration that names it: false where nobody may be told its value.
local function take_other(header, known)
  local others = known.others
  if not others then
    others = {}
    known.others = others
  end
  if others[header.name] ~= nil or header.unfit then
    others[header.name] = false
  else
    others[header.name] = header.value
  end
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
  elseif FACTS[name] or TOLD[name] then
    if known[name] then
      return "repeated " .. name
    end
    known[name] = value
    known.unfit = known.unfit or header.unfit
  elseif SINGLE[name] then
    if known[name] then
      return "repeated " .. name
    end
    known[name] = value
  else
    take_other(header, known)
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
    local header, why = read_header(sub(bytes, at, line_end - 1))
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
  for at = 1, #FACT_NAMES do
    local name = FACT_NAMES[at]
    local value = known[name]
    if not value then
      return nil, "no " .. FACTS[name]
    end
    identity[FACTS[name]] = value
  end
  if identity["X-Application-Id"] == "" or identity["X-Credential-Identifier"] == "" then
    return nil, "an empty identity"
  end
  if not METHODS[identity["X-Auth-Method"]] then
    return nil, "an unknown X-Auth-Method"
  end
  return identity
end

-- What a 200 says, into `reply`; returns why it is not well-formed, or nil.
local function read_allowance(reply, known)
  local identity, why = read_identity(known)
  if not identity then
    return why
  end
  reply.identity, reply.others = identity, known.others
  reply.groups, reply.access_token = known["x-application-groups"], known["x-access-token"]
  reply.session_id = known["x-session-id"]
  return nil
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
-- can make it well-formed. Nobody writes to a reply: requests share it.
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
    local why = read_allowance(reply, known)
    if why then
      return nil, why
    end
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

-- The reply as bytes that `parse` takes again, for a cache: without what belongs to one credential's session, so that
-- an application's credentials have the same, and without a minted token.
function _M.render(reply)
  local head = { PREFIX .. reply.status .. " " }
  local function add(name, value)
    head[#head + 1] = value and (name .. ": " .. value) or nil
  end
  for _, name in pairs(FACTS) do
    add(name, reply.identity and reply.identity[name])
  end
  add("X-Application-Groups", reply.groups)
  for name, value in pairs(reply.others or {}) do
    add(name, value)
  end
  add("Content-Type", reply.content_type)
  add("WWW-Authenticate", reply.challenge)
  add("Retry-After", reply.retry_after)
  add("Content-Length", #reply.body)
  return concat(head, "\r\n") .. "\r\n\r\n" .. reply.body
end

-- What `parse` makes of bytes that are alike, once for all of them: a worker that holds the answers to thousands of one
-- application's credentials has one reply in them.
function _M.parse_rendered(bytes)
  local reply, why = memo.get(rendered_judged, bytes), nil
  if not reply then
    reply, why = _M.parse(bytes)
    if reply and #bytes <= lines.MAX_KEPT_BYTES then
      memo.put(rendered_judged, bytes, reply)
    end
  end
  return reply, why
end

-- The groups of an X-Application-Groups header, each time a list of one's own.
function _M.groups_in(header)
  local found = {}
  for group in gmatch(header, "[^, \t]+") do
    found[#found + 1] = group
  end
  return found
end

-- The reason in a problem body (RFC 9457), or nil.
function _M.reason_in(body)
  local _, _, reason = find(body, '"reason"%s*:%s*"([%l_]+)"')
  return reason
end

return _M
