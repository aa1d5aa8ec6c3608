-- The Kong plugin credential-validator 0.1.0 in one file, for Kong's custom plugin streaming. Apache-2.0.
-- Made by scripts/stream-plugin from kong-plugin/kong/plugins/credential-validator/: change those files instead.
-- The first line of each module is here line
--    42 consumers.lua
--    75 received.lua
--    85 memo.lua
--   119 lines.lua
--   238 reply.lua
--   513 denial.lua
--   625 identity.lua
--   769 tls.lua
--   837 exchange.lua
--   974 health.lua
--  1025 sidecar.lua
--  1113 tracing.lua
--  1193 decisions.lua
--  1348 facts.lua
--  1417 cookies.lua
--  1475 request.lua
--  1547 session.lua
--  1641 target.lua
--  1721 settings.lua
--  1832 access.lua
--  1994 handler.lua

local installed = require
local modules, loaded = {}, {}

-- One of the modules below, opened when it is first asked for; or one of Kong's own.
local function require(name)
  local open = modules[name]
  if not open then
    return installed(name)
  end
  if loaded[name] == nil then
    loaded[name] = open(name)
  end
  return loaded[name]
end

modules["kong.plugins.credential-validator.consumers"] = function(...)
-- Law of this file: which of Kong's consumers stands for an application, or for nobody.

local kinds = { custom_id = "select_by_custom_id", username = "select_by_username" }

-- A deleted consumer stays in use no longer than that where Kong's invalidation does not reach the key.
local CACHE = { ttl = 60, neg_ttl = 5, resurrect_ttl = 0.001 }

local _M = {}

local function select(method, value)
  local consumers = kong.db.consumers
  return consumers[method](consumers, value)
end

-- The consumer that the configuration maps an application to; nil where there is none, nil and why where that cannot
-- be known.
function _M.of_application(conf, identity)
  local value = conf.consumer_value == "credential_identifier" and identity["X-Credential-Identifier"]
    or identity["X-Application-Id"]
  -- A key of our own, as under Kong's a name that looks like an id means that id.
  local key = kong.db.consumers:cache_key("credential-validator:" .. conf.consumer_by .. ":" .. value)
  return kong.cache:get(key, CACHE, select, kinds[conf.consumer_by], value)
end

-- The consumer by id or username that stands for nobody; as above.
function _M.anonymous(name)
  return kong.cache:get(kong.db.consumers:cache_key(name), CACHE, kong.client.load_consumer, name, true)
end

return _M
end

modules["kong.plugins.credential-validator.received"] = function(...)
-- Law of this file: a request's headers are read under their own names, in lower case, and under no other spelling: the
-- table that holds them would look for one that is missing in every other way it can be written.

-- Kong's sandbox for streamed plugins has no rawget.
return rawget or function(received, name)
  return received[name]
end
end

modules["kong.plugins.credential-validator.memo"] = function(...)
-- Law of this file: what was found out before, in two generations of bounded size: what is asked for again stays.
-- Plain functions over plain tables: Kong's sandbox for streamed plugins has no metatables.

local _M = {}

-- Holds between `max` / 2 and `max` entries once it has filled.
function _M.new(max)
  return { young = {}, old = {}, count = 0, half = max / 2 }
end

function _M.put(memo, key, value)
  if memo.count >= memo.half then
    memo.old, memo.young, memo.count = memo.young, {}, 0
  end
  memo.young[key] = value
  memo.count = memo.count + 1
end

function _M.get(memo, key)
  local value = memo.young[key]
  if value ~= nil then
    return value
  end
  value = memo.old[key]
  if value ~= nil then
    _M.put(memo, key, value)
  end
  return value
end

return _M
end

modules["kong.plugins.credential-validator.lines"] = function(...)
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
end

modules["kong.plugins.credential-validator.reply"] = function(...)
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
end

modules["kong.plugins.credential-validator.denial"] = function(...)
-- Law of this file: what a client is told when its request does not pass. Nothing here says how the sidecar fares,
-- beyond what the sidecar itself said.

local header_in = require "kong.plugins.credential-validator.received"
local reason_in = require("kong.plugins.credential-validator.reply").reason_in

local find, gsub, match, sub = string.find, string.gsub, string.match, string.sub
local type = type

local PROBLEM_JSON = "application/problem+json"
local RETRY_AFTER_S = "5" -- where the sidecar names no time
local INVALID_REQUEST = 'Bearer error="invalid_request"' -- RFC 6750 section 3.1; RFC 9110 wants a challenge on a 401
local HTTP_2 = 2

local SENTENCES = {
  [400] = "Connection names a header that is not hop by hop.",
  [401] = "A valid credential is required.",
  [403] = "The application is not allowed to call this service.",
  [429] = "Too many failed tries for this client; try again later.",
  [500] = "The gateway is not set up to answer this request.",
  [503] = "The request could not be judged; try again later.",
}
local TITLES = {
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [500] = "Internal Server Error",
  [503] = "Service Unavailable",
}

local function problem(status, reason)
  return '{"type":"about:blank","title":"' .. TITLES[status] .. '","status":' .. status .. ',"detail":"'
    .. SENTENCES[status] .. '"' .. (reason and (',"reason":"' .. reason .. '"') or "") .. "}"
end

local UNAVAILABLE, IDP_UNAVAILABLE = problem(503), problem(503, "idp_unavailable")
local BAD_REQUEST, MISCONFIGURED, NO_CONSUMER = problem(400), problem(500), problem(403)

local function refusal(reason)
  return { status = 401, challenge = INVALID_REQUEST, content_type = PROBLEM_JSON, body = problem(401, reason) }
end

-- Refusals that need no sidecar, in the form of its replies.
local _M = { MALFORMED = refusal("malformed_credential"), MULTIPLE = refusal("multiple_credentials") }

local function is_grpc(received)
  local content_type = header_in(received, "content-type")
  return type(content_type) == "string" and find(content_type, "application/grpc", 1, true) == 1
    and kong.request.get_http_version() == HTTP_2
end

-- Without a Content-Type, Kong makes grpc-status and grpc-message of status and body.
local function exit(received, status, body, headers)
  if is_grpc(received) then
    headers["Content-Type"] = nil
    return kong.response.exit(status, SENTENCES[status], headers)
  end
  return kong.response.exit(status, body, headers)
end

-- RFC 9110 section 11.5: the realm is the operator's to name.
local function challenge_of(conf, reply)
  local challenge, realm = reply.challenge, conf.realm
  if not challenge or not realm then
    return challenge
  end
  local named = 'realm="' .. realm .. '"'
  local text, count = gsub(challenge, 'realm="[^"]*"', (gsub(named, "%%", "%%%%")))
  if count > 0 then
    return text
  end
  local scheme, rest = match(challenge, "^([%w-]+)(.*)$")
  if rest == "" then
    return scheme .. " " .. named
  end
  return scheme and sub(rest, 1, 1) == " " and scheme .. " " .. named .. "," .. rest or challenge
end

-- Ends the request with the sidecar's 401, 403 or 429.
function _M.pass_on(conf, received, reply)
  return exit(received, reply.status, reply.body, {
    ["Content-Type"] = reply.content_type,
    ["WWW-Authenticate"] = challenge_of(conf, reply),
    ["Retry-After"] = reply.retry_after,
  })
end

-- Ends the request with 503; `reply` is the sidecar's own 503, where it gave one.
function _M.unavailable(received, reply)
  local idp = reply and reason_in(reply.body) == "idp_unavailable"
  return exit(received, 503, idp and IDP_UNAVAILABLE or UNAVAILABLE, {
    ["Content-Type"] = PROBLEM_JSON,
    ["Retry-After"] = reply and reply.retry_after or RETRY_AFTER_S,
  })
end

-- Ends the request with 400: it asks for headers to be removed that it may not touch.
function _M.bad_request(received)
  return exit(received, 400, BAD_REQUEST, { ["Content-Type"] = PROBLEM_JSON })
end

-- Ends the request with 403: no consumer of Kong's stands for the application.
function _M.no_consumer(received)
  return exit(received, 403, NO_CONSUMER, { ["Content-Type"] = PROBLEM_JSON })
end

-- Ends the request with 500: the operator's log says why.
function _M.misconfigured(received)
  return exit(received, 500, MISCONFIGURED, { ["Content-Type"] = PROBLEM_JSON })
end

return _M
end

modules["kong.plugins.credential-validator.identity"] = function(...)
-- Law of this file: which headers tell the upstream who is calling, and that none of them comes from the client.

local header_in = require "kong.plugins.credential-validator.received"

local byte, concat, find, gmatch = string.byte, table.concat, string.find, string.gmatch
local gsub, ipairs, lower, pairs = string.gsub, ipairs, string.lower, pairs
local type = type
local get_headers = ngx.req.get_headers

local ALL = 0 -- for ngx.req.get_headers: without a limit

-- Set by this plugin alone, or after it in the plugins' order.
local OURS = {
  "x-application-id", "x-application-name", "x-auth-method", "x-session-id", "x-application-groups",
  "x-consumer-groups", "x-authenticated-groups",
}
-- Set by any authentication plugin.
local SHARED = {
  "x-credential-identifier", "x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-anonymous-consumer",
}

local _M = {}

local function add(names, name, kind)
  names.kinds[name] = kind
  -- How any of them begins: other headers need no second look.
  names.first[byte(name)] = true
end

-- The headers that are removed, and `upstream`, those of the strategy's own, each { name, lower }.
function _M.names(upstream_headers)
  local names = { kinds = {}, first = {}, upstream = {} }
  for at, name in ipairs(upstream_headers or {}) do
    names.upstream[at] = { name = name, lower = lower(name) }
    add(names, lower(name), "ours")
  end
  for _, name in ipairs(OURS) do
    add(names, name, "ours")
  end
  for _, name in ipairs(SHARED) do
    add(names, name, "shared")
  end
  return names
end

-- Kong lets underscores through, and a CGI or WSGI upstream reads them as hyphens, in any mixture.
local function kind_of(names, name)
  local spelled = find(name, "_", 1, true) and gsub(name, "_", "-") or name
  return names.kinds[spelled], spelled == name
end

-- Removes every identity header from the request that goes upstream. `received` are the request's headers, read with
-- a limit of `limit` lines. With `keep_shared`, another plugin has authenticated this request and has set those
-- headers that it shares with this one. Returns all headers, and whether `received` may lack some of them.
function _M.clear(names, received, limit, keep_shared)
  local clear_header, first = kong.service.request.clear_header, names.first
  local count = 0
  for name, value in pairs(received) do
    count = count + (type(value) == "table" and #value or 1)
    if first[byte(name)] then
      local kind, exact = kind_of(names, name)
      if kind and not (keep_shared and exact and kind == "shared") then
        clear_header(name)
      end
    end
  end
  if count < limit or limit == ALL then
    return received, false
  end
  return _M.clear(names, get_headers(ALL), ALL, keep_shared), true
end

-- Whether the request's own Connection header names one of those that tell who is calling, or Authorization: Kong
-- removes what is named there as hop by hop (RFC 9110 section 7.6.1), and does so after its plugins.
function _M.named_in_connection(names, received)
  local connection = header_in(received, "connection")
  if not connection or connection == "keep-alive" or connection == "close" then
    return false
  end
  connection = type(connection) == "table" and concat(connection, ",") or connection
  for name in gmatch(lower(connection), "[^,%s]+") do
    if name == "authorization" or kind_of(names, name) then
      return true
    end
  end
  return false
end

-- Tells the upstream which application calls; on a cleared request.
function _M.set_application(names, reply)
  local set_header = kong.service.request.set_header
  local identity = reply.identity
  -- One by one: the loop would keep LuaJIT from compiling what is around it.
  set_header("X-Application-Id", identity["X-Application-Id"])
  set_header("X-Credential-Identifier", identity["X-Credential-Identifier"])
  set_header("X-Auth-Method", identity["X-Auth-Method"])
  if identity["X-Application-Name"] ~= "" then
    set_header("X-Application-Name", identity["X-Application-Name"])
  end
  if reply.groups then
    set_header("X-Application-Groups", reply.groups)
  end
  if reply.others and names.upstream[1] then
    for _, header in ipairs(names.upstream) do
      local value = reply.others[header.lower]
      if value then
        set_header(header.name, value)
      end
    end
  end
end

-- The one of the strategy's headers that a reply gives in a form that nobody may be told, or nil.
function _M.misfit(names, reply)
  for _, header in ipairs(names.upstream) do
    if reply.others and reply.others[header.lower] == false then
      return header.name
    end
  end
  return nil
end

-- Tells the upstream which of Kong's consumers calls; on a cleared request.
function _M.set_consumer(consumer)
  local set_header = kong.service.request.set_header
  set_header("X-Consumer-ID", consumer.id)
  if consumer.custom_id then
    set_header("X-Consumer-Custom-ID", consumer.custom_id)
  end
  if consumer.username then
    set_header("X-Consumer-Username", consumer.username)
  end
end

-- Tells the upstream that nobody is known, under the name that the operator gave to nobody; on a cleared request.
function _M.set_anonymous(consumer)
  kong.service.request.set_header("X-Anonymous-Consumer", "true")
  _M.set_consumer(consumer)
end

return _M
end

modules["kong.plugins.credential-validator.tls"] = function(...)
-- Law of this file: an encrypted connection is to whom the configuration names, or it is none.

local memo = require "kong.plugins.credential-validator.memo"

local pcall, require = pcall, require

local MAX_CERTIFICATES = 64

-- A certificate and its key as the connection takes them, by the text of the certificate.
local parsed = memo.new(MAX_CERTIFICATES)

local _M = {}

local function parse(certificate, key)
  -- Also where a vault, which the schema does not see through, has nothing.
  if not certificate or not key or certificate == "" or key == "" then
    return nil, "tls_client_certificate and tls_client_key go together, and one of them is empty"
  end
  local found, ssl = pcall(require, "ngx.ssl")
  if not found then
    return nil, "client certificates need ngx.ssl, which a streamed plugin cannot have: install the plugin on the node"
  end
  local chain, chain_err = ssl.parse_pem_cert(certificate)
  if not chain then
    return nil, "tls_client_certificate is no PEM certificate: " .. chain_err
  end
  local private, key_err = ssl.parse_pem_priv_key(key)
  if not private then
    return nil, "tls_client_key is no PEM key: " .. key_err
  end
  return { chain = chain, key = private, key_text = key }
end

local function client_certificate(conf)
  local certificate, key = conf.tls_client_certificate, conf.tls_client_key
  local pair, err = certificate and memo.get(parsed, certificate), nil
  if not pair or pair.key_text ~= key then
    pair, err = parse(certificate, key)
    if pair then
      memo.put(parsed, certificate, pair)
    end
  end
  return pair, err
end

-- Encrypts a new connection; `name` is asked for and must stand in the certificate. Returns true, or nil and why.
function _M.handshake(sock, conf, name)
  if conf.tls_client_certificate or conf.tls_client_key then
    local pair, pair_err = client_certificate(conf)
    if not pair then
      return nil, pair_err
    end
    local set, set_err = sock:setclientcert(pair.chain, pair.key)
    if not set then
      return nil, "the client certificate was refused: " .. set_err
    end
  end
  local done, err = sock:sslhandshake(false, name, conf.tls_verify)
  if not done then
    return nil, err
  end
  return true
end

return _M
end

modules["kong.plugins.credential-validator.exchange"] = function(...)
-- Law of this file: one question to one sidecar over a pooled connection. What the reply means is judged elsewhere.

local handshake = require("kong.plugins.credential-validator.tls").handshake
local parse_reply = require("kong.plugins.credential-validator.reply").parse

local floor, max, min = math.floor, math.max, math.min
local now, tcp = ngx.now, ngx.socket.tcp

local CHUNK_BYTES = 16384 -- a usual reply arrives in one piece
local WORTH_A_RETRY = true

local fresh_pools = 0

local _M = {}

local function left_ms(deadline)
  return floor((deadline - now()) * 1000)
end

-- The time for one step: what is left, and no more than is configured for it.
local function step_ms(deadline, limit_ms)
  local left = left_ms(deadline)
  return limit_ms and min(left, limit_ms) or left
end

-- Before each step, as each takes from what is left; a handshake counts as connecting.
local function set_timeouts(sock, conf, deadline)
  sock:settimeouts(
    max(step_ms(deadline, conf.connect_timeout_ms), 1),
    max(step_ms(deadline, conf.send_timeout_ms), 1),
    max(step_ms(deadline, conf.read_timeout_ms), 1)
  )
end

local function open(sock, conf, target, pool, deadline)
  set_timeouts(sock, conf, deadline)
  local connected, err
  if target.port then
    connected, err = sock:connect(target.host, target.port, { pool = pool })
  else
    connected, err = sock:connect(target.host, { pool = pool })
  end
  if not connected then
    return nil, "connecting failed: " .. err
  end
  local reused = sock:getreusedtimes() > 0
  if target.tls and not reused then
    set_timeouts(sock, conf, deadline)
    local encrypted, tls_err = handshake(sock, conf, target.tls)
    if not encrypted then
      sock:close()
      return nil, "the TLS handshake failed: " .. tls_err
    end
  end
  return true, reused
end

-- Returns the reply; or nil, why, and whether nothing of a reply came and the connection itself was at fault.
local function exchange(sock, request, deadline)
  local sent, send_err = sock:send(request)
  if not sent then
    return nil, "sending failed: " .. send_err, send_err ~= "timeout"
  end
  local bytes = ""
  while true do
    local ms = left_ms(deadline)
    if ms <= 0 then
      return nil, "receiving failed: timeout"
    end
    sock:settimeout(ms)
    local data, receive_err = sock:receiveany(CHUNK_BYTES)
    if not data then
      return nil, "receiving failed: " .. receive_err, bytes == "" and receive_err ~= "timeout"
    end
    bytes = bytes .. data
    local reply, why = parse_reply(bytes)
    if why then
      return nil, "the reply is not well-formed: " .. why
    end
    if reply then
      return reply
    end
  end
end

local function attempt(conf, target, request, deadline, pool)
  local sock, socket_err = tcp()
  if not sock then
    return nil, "creating a socket failed: " .. socket_err
  end
  local opened, reused = open(sock, conf, target, pool, deadline)
  if not opened then
    return nil, reused
  end

  if not reused then -- one from the pool has taken no time
    set_timeouts(sock, conf, deadline)
  end
  local limit = conf.read_timeout_ms
  local read_deadline = limit and min(deadline, now() + limit / 1000) or deadline
  local reply, err, untouched = exchange(sock, request, read_deadline)
  if not reply then
    sock:close()
    return nil, err, reused and untouched and WORTH_A_RETRY
  end
  if not reply.keep_alive or pool ~= target.pool then
    sock:close()
    return reply
  end
  local kept, keep_err = sock:setkeepalive(conf.keepalive_idle_ms, conf.keepalive_pool_size)
  if not kept then
    sock:close()
    if keep_err ~= "closed" and not target.tls then
      -- More bytes have come by now than the reply declared: whose answer they are cannot be known. Under TLS they may
      -- be the protocol's own.
      return nil, "the reply is not well-formed: " .. keep_err
    end
  end
  return reply
end

-- Asks once, and once more where the connection came from the pool and had died there. Returns the reply, or nil and
-- why. `deadline`: seconds, as ngx.now.
function _M.ask(conf, target, request, deadline)
  local reply, err, again = attempt(conf, target, request, deadline, target.pool)
  if again then
    -- A pool of its own cannot hold another stale connection.
    fresh_pools = fresh_pools + 1
    reply, err = attempt(conf, target, request, deadline, target.pool .. " " .. fresh_pools)
  end
  return reply, err
end

return _M
end

modules["kong.plugins.credential-validator.health"] = function(...)
-- Law of this file: which of several sidecars are asked, and in which order. Nobody is asked for his health: only what
-- became of real requests counts, in each worker by itself. Pure: `now` is an argument, in seconds.

local min = math.min

local FIRST_REST_S = 1 -- a sidecar that restarts is back within it
local LONGEST_REST_S = 10
local SLOW_IN_A_ROW = 3 -- fewer may be what clients ask about, whose identity provider is slow

local _M = {}

-- A sidecar's health, before anything is known.
function _M.new()
  return { failures = 0, slow = 0, rests_until = 0 }
end

-- Whether it is to be passed over as long as there is another. Where its rest is over, one request tries it, and the
-- others go on passing it over until that one has come back.
function _M.rests(health, now)
  if health.failures == 0 then
    return false
  end
  local left = health.rests_until - now
  if left > 0 and left <= LONGEST_REST_S then -- more: the clock was set back
    return true
  end
  health.rests_until = now + FIRST_REST_S
  return false
end

-- It answered.
function _M.good(health)
  health.failures, health.slow = 0, 0
end

-- It gave no well-formed reply; `slow`: because its time was up. Returns whether it is passed over from now on.
function _M.bad(health, now, slow)
  if slow and health.failures == 0 and health.slow + 1 < SLOW_IN_A_ROW then
    health.slow = health.slow + 1
    return false
  end
  local news = health.failures == 0
  health.failures = min(health.failures + 1, 5)
  health.rests_until = now + min(FIRST_REST_S * 2 ^ (health.failures - 1), LONGEST_REST_S)
  return news
end

return _M
end

modules["kong.plugins.credential-validator.sidecar"] = function(...)
-- Law of this file: the question, and to which sidecars it goes until one of them decides, within timeout_ms in all.

local exchange = require("kong.plugins.credential-validator.exchange").ask
local health = require "kong.plugins.credential-validator.health"

local find, min, now, re_find = string.find, math.min, ngx.now, ngx.re.find

-- Would end a line of the request that is written by hand. A compiled expression, since Lua's own patterns take ten
-- times as long over a credential of a kilobyte.
local CONTROL_BUT_TAB = "[\\x00-\\x08\\x0a-\\x1f\\x7f]"
-- What another sidecar may know better: this one lacks the strategy, or what it would have to ask.
local UNDECIDED = { [404] = true, [503] = true }

local SLOW = "receiving failed: timeout$"

local _M = {}

-- Whether a header's value must not be given to `ask`.
function _M.unsafe(value)
  local at, _, err = re_find(value, CONTROL_BUT_TAB, "jo")
  return at ~= nil or err ~= nil
end

-- All in the order in which the sidecar reads them the fastest: what changes with each request comes last.
local function write(question, host_header)
  return "GET " .. question.path .. " HTTP/1.1\r\nHost: " .. host_header .. "\r\n"
    .. (question.authorization and ("Authorization: " .. question.authorization .. "\r\n") or "")
    .. (question.cookie and ("Cookie: " .. question.cookie .. "\r\n") or "")
    .. (question.traceparent and ("traceparent: " .. question.traceparent .. "\r\n") or "") .. "\r\n"
end

local function ask_one(conf, target, question, deadline)
  local reply, err = exchange(conf, target, write(question, target.host_header), deadline)
  return reply, not reply and (target.url .. ": " .. err) or nil
end

-- The same for one of several: what it says or fails to say counts for its health.
local function try(conf, target, question, deadline)
  local reply, err = ask_one(conf, target, question, deadline)
  if reply then
    health.good(target.health)
    return reply
  end
  if health.bad(target.health, now(), find(err, SLOW)) then
    kong.log.warn("a sidecar is passed over for now: ", err)
  end
  return nil, err
end

-- Those that are up in their order, and only where none of them decides those that rest. Whoever is asked while others
-- are left gets half of the time.
local function ask_in_turn(conf, targets, question, deadline)
  local asked, undecided, err = {}, nil, nil
  for round = 1, 2 do
    for at = 1, #targets do
      local target = targets[at]
      local moment = now()
      if not asked[at] and moment < deadline and (round == 2 or not health.rests(target.health, moment)) then
        asked[at] = true
        asked.count = (asked.count or 0) + 1
        local until_then = asked.count < #targets and (moment + deadline) / 2 or deadline
        local reply
        reply, err = try(conf, target, question, until_then)
        if reply and not UNDECIDED[reply.status] then
          return reply
        end
        undecided = reply or undecided
      end
    end
  end
  return undecided, err
end

-- Asks `question`, { path, authorization, cookie, traceparent }: the client's own credential headers, each a safe
-- string or nil. Within timeout_ms, or within `limit_ms` where that is given and shorter. Returns the reply, or nil
-- and why.
function _M.ask(conf, targets, question, limit_ms)
  local deadline = now() + min(conf.timeout_ms, limit_ms or conf.timeout_ms) / 1000
  if #targets == 1 then
    return ask_one(conf, targets[1], question, deadline)
  end
  return ask_in_turn(conf, targets, question, deadline)
end

return _M
end

modules["kong.plugins.credential-validator.tracing"] = function(...)
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
end

modules["kong.plugins.credential-validator.decisions"] = function(...)
-- Law of this file: how long a decision of the sidecar is reused, and for whom. Off (decision_cache_ttl_s = 0), every
-- request is asked about. On, nothing outlives the sidecar's own max-age, and nothing stale is ever an answer.

local denial = require "kong.plugins.credential-validator.denial"
local identity = require "kong.plugins.credential-validator.identity"
local replies = require "kong.plugins.credential-validator.reply"
local sha256 = require "resty.sha256"
local sidecar = require "kong.plugins.credential-validator.sidecar"
local tracing = require "kong.plugins.credential-validator.tracing"

local find, format, match, sub = string.find, string.format, string.match, string.sub
local min, tonumber, type = math.min, tonumber, type
local now = ngx.now

local CACHEABLE = { [200] = true, [401] = true, [403] = true, [429] = true }
-- Kong's cache lets others wait 5 s for the one who asks: that one has to be done well before.
local LOCKED_LIMIT_MS = 4000
local CLOCK_STEP_S = 0.001
local STALE = 4 -- the hit level of a value that has outlived its time
-- Stands for "ask by yourself": parallel requests that cannot share an answer need not wait for one another.
local ASK, ASK_TTL_S = "ask", 1

local _M = {}

-- One for all requests: between its reset and its digest nothing waits.
local digest = sha256:new()

-- Everything that the answer depends on, and the credential only as a digest, whose bytes are as good in a key as
-- their text; the length tells where in it the session begins. Nil where there is no digest: without one, everybody's
-- key would be the same.
local function key_of(settings, question)
  local authorization, cookie = question.authorization, question.cookie
  local hashed = digest:reset()
  if authorization then
    hashed = digest:update(authorization) and hashed
  end
  if cookie then
    hashed = digest:update(cookie) and hashed
  end
  local bytes = digest:final()
  if not hashed or not bytes then
    return nil
  end
  return "credential-validator:" .. settings.scope .. ":" .. question.path .. ":"
    .. (authorization and #authorization or "none") .. ":" .. bytes
end

local function freeze(reply, expires_at)
  return format("%.3f\n", expires_at) .. replies.render(reply)
end

-- What was stored as { reply, expires_at }, judged again as strictly as what comes from the wire. What is no decision
-- stays what it was, since an error here would be one of the cache.
local function thaw(value)
  if type(value) ~= "string" then
    return value
  end
  local line_end = find(value, "\n", 1, true)
  local expires_at = line_end and match(sub(value, 1, line_end - 1), "^%d+%.%d+$")
  local reply = expires_at and replies.parse_rendered(sub(value, line_end + 1))
  return reply and { reply, tonumber(expires_at) } or value
end

-- The reply in what the cache handed out; nil where it is none now. More time than is configured it has where that was
-- lowered, or where the clock was set back.
local function reply_in(conf, value)
  local decision = thaw(value)
  if type(decision) ~= "table" or type(decision[2]) ~= "number" then
    return nil
  end
  local left = decision[2] - now()
  return left > 0 and left <= conf.decision_cache_ttl_s + CLOCK_STEP_S and decision[1] or nil
end

-- Kong's own default for both times is for ever; what has expired is to be revived for no longer than a blink. Each
-- worker judges what is stored once, when it takes it over, and not at every hit.
local OPTIONS = { ttl = ASK_TTL_S, neg_ttl = ASK_TTL_S, resurrect_ttl = 0.001, l1_serializer = thaw }

-- A credential that was asked about before had the same bytes: it is looked through here, and not at every hit.
local function ask(conf, settings, question, limit_ms)
  if question.authorization and sidecar.unsafe(question.authorization) then
    return denial.MALFORMED
  end
  local span
  span, question.traceparent = tracing.begin(question.received)
  local reply, err = sidecar.ask(conf, settings.targets, question, limit_ms)
  if span then
    tracing.finish(span, reply, err)
  end
  local misfit = reply and identity.misfit(settings.names, reply)
  if misfit then
    return nil, "the reply is not well-formed: a repeated or oversized " .. misfit
  end
  return reply, err
end

-- Seconds for which others may have the reply.
local function ttl_of(conf, reply)
  if not reply or not CACHEABLE[reply.status] or reply.access_token then
    return 0
  end
  return min(conf.decision_cache_ttl_s, reply.max_age or 0)
end

-- kong.cache's callback. The question carries the whole answer, cookies and errors included, to the one request that
-- asked.
local function ask_for_all(conf, settings, question)
  local asked_at = now()
  local reply, err = ask(conf, settings, question, LOCKED_LIMIT_MS)
  question.asked, question.reply, question.err = true, reply, err
  if reply == denial.MALFORMED then
    return nil, "malformed" -- errors are not stored
  end
  -- From the question on: what is revoked while the answer is on its way is not in it.
  local expires_at = asked_at + ttl_of(conf, reply)
  local left = expires_at - now()
  if left < CLOCK_STEP_S then -- what has less time than that, nginx would store for ever
    return ASK, nil, ASK_TTL_S
  end
  return freeze(reply, expires_at), nil, left
end

-- The sidecar's reply to the question (see request.question), which is told where nobody was asked for it; or nil and
-- why there is none.
function _M.get(conf, settings, question)
  -- Kong's sandbox, made before there was a cache, has false in its place.
  local key = conf.decision_cache_ttl_s > 0 and settings.scope and kong.cache.get and key_of(settings, question)
  if not key then
    return ask(conf, settings, question)
  end
  local began = now()
  local value, err, level = kong.cache:get(key, OPTIONS, ask_for_all, conf, settings, question)
  if question.asked then
    return question.reply, question.err
  end
  if err then
    return nil, "the decision cache failed: " .. err
  end
  local reply = level ~= STALE and reply_in(conf, value)
  if reply then
    question.cached = true
    return reply
  end
  -- Perhaps after waiting for one who had no answer for all.
  local left_ms = conf.timeout_ms - (now() - began) * 1000
  if left_ms < 1 then
    return nil, "no answer in time to share"
  end
  return ask(conf, settings, question, left_ms)
end

return _M
end

modules["kong.plugins.credential-validator.facts"] = function(...)
-- Law of this file: what other plugins may know of a decision, in kong.ctx.shared and in Kong's log serializer: never a
-- credential, never a token.

local groups_in = require("kong.plugins.credential-validator.reply").groups_in
local reason_in = require("kong.plugins.credential-validator.reply").reason_in

local ipairs = ipairs

local NAME = "credential_validator"
local NOTHING = {}

local _M = {}

local function reason_of(reply)
  return reply and reply.status ~= 200 and reason_in(reply.body) or nil
end

local function groups_of(reply)
  return reply and reply.groups and groups_in(reply.groups) or nil
end

local function headers_of(settings, reply)
  local found
  for _, header in ipairs(reply and reply.others and settings.names.upstream or NOTHING) do
    local value = reply.others[header.lower]
    if value then
      found = found or {}
      found[header.name] = value
    end
  end
  return found
end

-- Tells them, with how it ended. Called once for a request, before the answer is given.
--   question: { service, latency_ms, cached }
--   reply: the sidecar's, or nil where there is none
--   consumer: Kong's, or nil
function _M.tell(settings, question, outcome, status, reply, consumer)
  local identity = reply and reply.identity or NOTHING
  local facts = {
    outcome = outcome,
    status = status,
    reason = reason_of(reply),
    strategy = settings.strategy,
    service = question.service,
    application_id = identity["X-Application-Id"],
    application_name = identity["X-Application-Name"],
    credential_identifier = identity["X-Credential-Identifier"],
    auth_method = identity["X-Auth-Method"],
    groups = groups_of(reply),
    session_id = reply and reply.session_id,
    consumer_id = consumer and consumer.id,
    headers = headers_of(settings, reply),
    cached = question.cached,
    latency_ms = question.latency_ms,
  }
  local shared = kong.ctx.shared
  shared[NAME] = facts
  -- What acl reads: an application in no group is in none, and nobody who was never asked about.
  if outcome == "allowed" and not shared.authenticated_groups then
    shared.authenticated_groups = groups_of(reply) or {}
  end
  kong.log.set_serialize_value(NAME, facts)
end

return _M
end

modules["kong.plugins.credential-validator.cookies"] = function(...)
-- Law of this file: reading and cutting the Cookie header (RFC 6265 section 4.2.1); pure, without ngx and kong.

local concat = table.concat
local find, gmatch, match, sub = string.find, string.gmatch, string.match, string.sub

local _M = {}

-- Without blanks at its ends, or nil where nothing is left. In two steps, since any one pattern for both ends takes
-- seconds over a header full of blanks.
local function trimmed(text)
  local from = find(text, "[^ \t]")
  return from and match(text, "^.*[^ \t]", from)
end

-- Calls `each(pair, is_named)` for every non-empty pair of the header, in order.
local function walk(header, name, each)
  for piece in gmatch(header, "[^;]+") do
    local pair = trimmed(piece)
    if pair then
      -- A pair without "=" is a nameless cookie, whatever it reads.
      local equals = find(pair, "=", 1, true)
      each(pair, equals ~= nil and trimmed(sub(pair, 1, equals - 1)) == name)
    end
  end
end

-- The pairs of that name, joined as in a Cookie header, or nil.
function _M.pick(header, name)
  if not find(header, name, 1, true) then -- as in most of them
    return nil
  end
  local kept = {}
  walk(header, name, function(pair, is_named)
    if is_named then
      kept[#kept + 1] = pair
    end
  end)
  return kept[1] and concat(kept, "; ") or nil
end

-- The header without the pairs of that name, or nil when nothing is left.
function _M.without(header, name)
  if not find(header, name, 1, true) then
    return header
  end
  local kept = {}
  walk(header, name, function(pair, is_named)
    if not is_named then
      kept[#kept + 1] = pair
    end
  end)
  return kept[1] and concat(kept, "; ") or nil
end

return _M
end

modules["kong.plugins.credential-validator.request"] = function(...)
-- Law of this file: what the client sent, and what of it is shown to the sidecar or hidden from the upstream.

local cookies = require "kong.plugins.credential-validator.cookies"
local denial = require "kong.plugins.credential-validator.denial"
local header_in = require "kong.plugins.credential-validator.received"
local unsafe = require("kong.plugins.credential-validator.sidecar").unsafe

local lower, match, type = string.lower, string.match, type

local OURS = { basic = true, bearer = true }

local _M = {
  MAX_HEADERS = 100, -- Kong's own default; beyond it nobody knows what the client sent
}

-- What is asked about the request, and what became of the question: { service, path, authorization, cookie,
-- traceparent, received, latency_ms, cached }, of which Authorization has yet to be looked through before it is sent
-- anywhere; and the refusal that answers it unasked, if any. `truncated`: there are more headers than Kong reads. One
-- table, since each that a request makes is paid for again by the collector.
function _M.question(conf, service, received, truncated)
  -- Names come in lower case; a look at one that is missing would have the others tried in other spellings.
  local authorization, cookie, refusal = header_in(received, "authorization"), header_in(received, "cookie"), nil
  if type(authorization) == "table" then
    authorization, refusal = nil, denial.MULTIPLE
  elseif truncated or type(cookie) == "table" or cookie and unsafe(cookie) then
    refusal = denial.MALFORMED -- of the cookie all: what is asked about and kept is a part of it alone
  elseif cookie then
    -- Only what is in the key of a kept decision is asked about: were the sidecar shown a cookie of another name, and
    -- did it know that one for a session, its answer would stand under the key of somebody without any.
    cookie = cookies.pick(cookie, conf.session_cookie_name)
  end
  return {
    service = service,
    path = nil,
    authorization = authorization,
    cookie = not refusal and cookie or nil,
    traceparent = nil,
    received = received,
    latency_ms = 0,
    cached = false,
  }, refusal
end

-- Removes the session cookie, and no other, from what goes upstream.
function _M.hide_session(conf, received)
  local cookie = header_in(received, "cookie")
  if not cookie then
    return
  end
  local others = type(cookie) == "string" and cookies.without(cookie, conf.session_cookie_name)
  if not others then
    kong.service.request.clear_header("Cookie")
  elseif others ~= cookie then
    kong.service.request.set_header("Cookie", others)
  end
end

-- Removes the credential, whatever it is. With `only_ours`, an Authorization of a scheme that is judged elsewhere is
-- left to the authentication plugin that comes after this one.
function _M.hide_credentials(conf, received, only_ours)
  local authorization = header_in(received, "authorization")
  local scheme = only_ours and type(authorization) == "string" and match(authorization, "^([%w-]+) ")
  if not scheme or OURS[lower(scheme)] then
    kong.service.request.clear_header("Authorization")
  end
  _M.hide_session(conf, received)
end

return _M
end

modules["kong.plugins.credential-validator.session"] = function(...)
-- Law of this file: the session's cookies join those of the upstream on whatever the client gets, and are kept by
-- nobody in between.

local concat, find, gmatch, lower, match = table.concat, string.find, string.gmatch, string.lower, string.match
local ipairs, type = ipairs, type

-- In ngx.ctx, which costs a look: kong.ctx.plugin would make a table for every request, and hardly any needs one.
local SESSION = {}
local MAX_HEADERS = 1000 -- Kong's bound
local REPLACE = { mode = "replace" }
local FOR_ALL = { public = true, ["s-maxage"] = true }
local NOT_FOR_ALL = { private = true, ["no-store"] = true }

local _M = {}

-- Remembers the reply's cookies until the response's headers are sent.
function _M.hold(reply)
  if reply.set_cookies then
    ngx.ctx[SESSION] = reply.set_cookies
  end
end

local function all_of(name)
  local value = kong.response.get_headers(MAX_HEADERS)[name]
  return type(value) == "table" and value or { value }
end

-- Whether Kong's own list of the plugins that see this response, in 3.0 one for all phases, has one that stores it.
-- Nothing promises that list: it only ever adds caution.
local function meets_a_cache()
  local plugins = ngx.ctx.plugins
  local list = type(plugins) == "table" and (plugins.header_filter or plugins)
  if type(list) ~= "table" then
    return false
  end
  for at = 1, list[0] or 0 do
    local name = type(list[at]) == "table" and list[at].name
    if type(name) == "string" and find(name, "proxy-cache", 1, true) then
      return true
    end
  end
  return false
end

-- Whether proxy-cache is about to store the response, with every header that it has by now: it then says Miss or
-- Refresh, or Bypass where it has made a key.
local function is_stored()
  local said = {} -- also by an upstream that has a cache of its own
  for _, status in ipairs(all_of("x-cache-status")) do
    said[status] = true
  end
  if said.Miss or said.Refresh or said.Bypass and kong.response.get_header("x-cache-key") then
    return true
  end
  if said.Bypass or not meets_a_cache() then
    return false
  end
  -- It may be told to say nothing, but leaves a sign of having answered from what it has.
  return not (kong.ctx.shared.proxy_cache_hit or said.Hit and kong.response.get_source() == "exit")
end

-- RFC 9111 section 7.3: a cookie by itself keeps no shared cache from storing a response.
local function keep_from_caches()
  local kept = { "private" }
  for directive in gmatch(concat(all_of("cache-control"), ","), "[^,%s][^,]*") do
    local name = match(lower(directive), "^[^%s=]*")
    if NOT_FOR_ALL[name] and not find(directive, "=", 1, true) then
      return
    end
    if not FOR_ALL[name] then
      kept[#kept + 1] = directive
    end
  end
  kong.response.set_header("Cache-Control", concat(kept, ", "))
end

-- The header_filter phase.
function _M.pass_on()
  local cookies = ngx.ctx[SESSION]
  if not cookies or is_stored() then
    return
  end
  keep_from_caches()
  for at = 1, #cookies do
    kong.response.add_header("Set-Cookie", cookies[at])
  end
  -- Kong's logging plugins get every header of the response: a session's cookie is as good as its credential.
  kong.log.set_serialize_value("response.headers.set-cookie", "REDACTED", REPLACE)
end

return _M
end

modules["kong.plugins.credential-validator.target"] = function(...)
-- Law of this file: where a sidecar is and what is asked of it, as text; pure, without ngx and kong.

local byte, concat, find, format, gsub = string.byte, table.concat, string.find, string.format, string.gsub
local ipairs, match, tonumber, unpack = ipairs, string.match, tonumber, unpack

local MAX_PORT = 65535
local POOL_PREFIX = "credential-validator:" -- so that no other user of the same address shares our connections

local _M = {}

local function percent(char)
  return format("%%%02X", byte(char))
end

-- One segment of a path (RFC 3986 section 3.3): everything but the unreserved characters is encoded.
-- Returns nil and why where no segment can carry the value.
function _M.encode(value)
  if value == "" or value == "." or value == ".." then
    return nil, "no path segment can be '" .. value .. "'"
  end
  return (gsub(value, "[^%w._~-]", percent))
end

-- The segment that names one strategy or several, in their order; or nil and why.
function _M.strategies(first, others)
  local segments, seen = {}, {}
  for _, name in ipairs { first, unpack(others or {}) } do
    local segment, err = _M.encode(name)
    if not segment then
      return nil, "strategy: " .. err
    end
    if not seen[segment] then -- the sidecar takes none twice
      seen[segment] = true
      segments[#segments + 1] = segment
    end
  end
  return concat(segments, ",")
end

-- Where /v1/authorize judges a request for the service; or nil and why.
function _M.path(strategies, service)
  local segment, err = _M.encode(service)
  if not segment then
    return nil, "service: " .. err
  end
  return "/v1/authorize/" .. strategies .. "/" .. segment
end

-- A validator_url as { url, host, port, host_header, pool, tls }; port is nil for a Unix socket, tls is the host's
-- name where the connection is to be encrypted. Or nil and why.
function _M.parse(url)
  if find(url, "^unix:/[^%s%c]+$") then
    return { url = url, host = url, host_header = "localhost", pool = POOL_PREFIX .. url }
  end
  local scheme, authority = match(url, "^(https?)://(.-)/?$")
  local host, port
  if authority then
    host, port = match(authority, "^([%w._-]+):(%d+)$")
    if not host then
      host, port = match(authority, "^(%[[%x:.]+%]):(%d+)$")
    end
  end
  port = port and #port <= 5 and tonumber(port)
  if not port or port < 1 or port > MAX_PORT then
    return nil, "'" .. url .. "' is none of http://host:port, https://host:port and unix:/path"
  end
  return {
    url = url,
    host = host,
    port = port,
    host_header = authority,
    pool = POOL_PREFIX .. url,
    tls = scheme == "https" and gsub(host, "^%[(.*)%]$", "%1") or nil,
  }
end

return _M
end

modules["kong.plugins.credential-validator.settings"] = function(...)
-- Law of this file: what follows from a plugin's configuration, worked out once for as long as it stays the same.

local health = require "kong.plugins.credential-validator.health"
local identity = require "kong.plugins.credential-validator.identity"
local memo = require "kong.plugins.credential-validator.memo"
local targets = require "kong.plugins.credential-validator.target"

local concat, crc32_long, ipairs = table.concat, ngx.crc32_long, ipairs
local tostring, unpack = tostring, unpack

local MAX_CONFIGURATIONS = 16384 -- every push of a configuration makes new ones

local known = memo.new(MAX_CONFIGURATIONS)
local made = 0

local _M = {}

-- Where its kept decisions stand: under Kong's id of this plugin's instance, before 3.3 the key it is looked up by,
-- which no two instances share, and under what else a decision rests on, since a change of that leaves Kong's cache as
-- it is. Nil where they cannot be told from another's.
local function scope_of(conf)
  local instance = conf.__plugin_id or conf.__key__
  if not instance then
    return nil
  end
  local terms = {
    conf.validator_url or "", concat(conf.fallback_validator_urls or {}, " "), concat(conf.upstream_headers or {}, " "),
    tostring(conf.forward_minted_token), tostring(conf.tls_verify), conf.tls_server_name or "",
  }
  return instance .. ":" .. crc32_long(concat(terms, "\n"))
end

-- Connections with other terms are no use to this one: they stay in pools of their own.
local function pool_of(conf, target)
  if not target.tls then
    return target.pool
  end
  if conf.tls_client_certificate or conf.tls_client_key then
    return target.pool .. " " .. made
  end
  return target.pool .. " " .. (conf.tls_server_name or "") .. " " .. tostring(conf.tls_verify)
end

local function read_targets(conf)
  if not conf.validator_url then -- a vault that has nothing, in Kong 3.0
    return nil, "validator_url is empty"
  end
  local found = {}
  for at, url in ipairs { conf.validator_url, unpack(conf.fallback_validator_urls or {}) } do
    local target, err = targets.parse(url)
    if not target then
      return nil, "validator_url: " .. err
    end
    target.pool = pool_of(conf, target)
    target.tls = target.tls and (conf.tls_server_name or target.tls)
    target.health = health.new()
    found[at] = target
  end
  return found
end

local function read(conf)
  made = made + 1
  local settings = {
    scope = scope_of(conf),
    names = identity.names(conf.upstream_headers),
    strategy = concat({ conf.strategy, unpack(conf.additional_strategies or {}) }, ","),
    paths = {},
    validator_url = conf.validator_url,
    tls_client_certificate = conf.tls_client_certificate,
    tls_client_key = conf.tls_client_key,
  }
  settings.strategies, settings.err = targets.strategies(conf.strategy, conf.additional_strategies)
  if not settings.err then
    settings.targets, settings.err = read_targets(conf)
  end
  return settings
end

-- Values that a vault holds change in place.
local function is_current(settings, conf)
  return settings.validator_url == conf.validator_url
    and settings.tls_client_certificate == conf.tls_client_certificate
    and settings.tls_client_key == conf.tls_client_key
end

-- { scope, names, strategy, strategies, targets, err }, `strategies` as in a path; `err` says why nothing can be
-- asked.
function _M.of(conf)
  local settings = memo.get(known, conf)
  if not settings or not is_current(settings, conf) then
    settings = read(conf)
    memo.put(known, conf, settings)
  end
  return settings
end

-- What is asked of a sidecar about a request for the service; or nil and why.
function _M.path(settings, service)
  local path, err = settings.paths[service], settings.err
  if not path and not err then
    path, err = targets.path(settings.strategies, service)
    settings.paths[service] = path
  end
  return path, err
end

return _M
end

modules["kong.plugins.credential-validator.access"] = function(...)
-- Law of this file: the order of things. Clear, read the credential, have it judged, then let through or answer.

local consumers = require "kong.plugins.credential-validator.consumers"
local decisions = require "kong.plugins.credential-validator.decisions"
local denial = require "kong.plugins.credential-validator.denial"
local facts = require "kong.plugins.credential-validator.facts"
local identity = require "kong.plugins.credential-validator.identity"
local request = require "kong.plugins.credential-validator.request"
local session = require "kong.plugins.credential-validator.session"
local settings_of = require("kong.plugins.credential-validator.settings").of
local path_of = require("kong.plugins.credential-validator.settings").path

local floor, now = math.floor, ngx.now

local _M = {}

local function service_name(conf)
  if conf.service then
    return conf.service
  end
  local service = kong.router.get_service()
  return service and service.name
end

-- The reply that decides over the request, or nil and why there is none.
local function judge(conf, settings, question)
  if not question.service then
    return nil, "neither config.service nor a named Gateway Service says which service is called"
  end
  local path, path_err = path_of(settings, question.service)
  if not path then
    return nil, path_err
  end
  question.path = path
  local began = now()
  local reply, err = decisions.get(conf, settings, question)
  question.latency_ms = floor((now() - began) * 1000 + 0.5)
  return reply, err
end

-- `reply`: the sidecar's own 503, where it gave one.
local function unavailable(settings, question, received, why, reply)
  local log = reply and kong.log.warn or kong.log.err
  log("no decision: ", why)
  facts.tell(settings, question, "unavailable", 503, reply)
  return denial.unavailable(received, reply)
end

local function let_application_through(conf, settings, question, received, reply)
  local consumer
  if conf.consumer_by then
    local err
    consumer, err = consumers.of_application(conf, reply.identity)
    if err then
      return unavailable(settings, question, received, "the consumer could not be looked up: " .. err)
    end
  end
  local client_id = reply.identity["X-Credential-Identifier"]
  local minted = conf.forward_minted_token and reply.identity["X-Auth-Method"] == "client_credentials"
  if minted and not reply.access_token then
    return unavailable(settings, question, received,
      "the sidecar gave no minted token; does the strategy set forward_minted_token?")
  end
  if conf.consumer_by and not consumer and not conf.consumer_optional then
    kong.log.notice("denied: no consumer with the ", conf.consumer_by, " of application ",
      reply.identity["X-Application-Id"])
    facts.tell(settings, question, "denied", 403, reply)
    return denial.no_consumer(received)
  end

  facts.tell(settings, question, "allowed", 200, reply, consumer)
  identity.set_application(settings.names, reply)
  if consumer then
    identity.set_consumer(consumer)
  end
  kong.client.authenticate(consumer, { id = client_id, consumer_id = consumer and consumer.id })
  if minted then
    kong.service.request.set_header("Authorization", "Bearer " .. reply.access_token)
  end
  session.hold(reply)
end

local function let_anonymous_through(conf, settings, question, received, reply)
  local consumer, err = consumers.anonymous(conf.anonymous)
  if err then
    return unavailable(settings, question, received, "the anonymous consumer could not be loaded: " .. err)
  end
  if not consumer then
    kong.log.err("anonymous consumer '", conf.anonymous, "' is configured but does not exist")
    facts.tell(settings, question, "unavailable", 500, reply)
    return denial.misconfigured(received)
  end
  facts.tell(settings, question, "anonymous", 200, reply, consumer)
  identity.set_anonymous(consumer)
  kong.client.authenticate(consumer, nil)
end

-- Apart from `execute`, whose loops over headers LuaJIT would not compile as one piece with this.
local function decide(conf, settings, received, truncated)
  local question, reply = request.question(conf, service_name(conf), received, truncated)
  local err
  if not reply then
    reply, err = judge(conf, settings, question)
  end
  local nobody = reply and reply.status == 401 and conf.anonymous
  if conf.hide_credentials then -- also where it ends here, since Kong's logs tell a request's cookies
    request.hide_credentials(conf, received, nobody)
  end
  if not reply then
    return unavailable(settings, question, received, err)
  end
  local status = reply.status
  if status == 200 then
    return let_application_through(conf, settings, question, received, reply)
  end
  if nobody then
    return let_anonymous_through(conf, settings, question, received, reply)
  end
  if status == 404 then
    return unavailable(settings, question, received,
      "the sidecar does not know every strategy of '" .. settings.strategy .. "'")
  end
  if status == 503 then
    return unavailable(settings, question, received, "the sidecar answered 503", reply)
  end
  facts.tell(settings, question, "denied", status, reply)
  return denial.pass_on(conf, received, reply)
end

-- Lets a request pass that this plugin does not judge.
local function stand_aside(conf, received, passed)
  if not conf.hide_credentials then
    return
  end
  if passed then -- its Authorization is what the other plugin has judged
    return request.hide_session(conf, received)
  end
  return request.hide_credentials(conf, received)
end

-- The access phase.
function _M.execute(conf)
  local settings = settings_of(conf)
  local preflight = not conf.run_on_preflight and kong.request.get_method() == "OPTIONS"
  -- Passed by another plugin: Kong's logical OR.
  local passed = (preflight or conf.anonymous) and kong.client.get_credential()
  local received, truncated = identity.clear(settings.names, kong.request.get_headers(request.MAX_HEADERS),
    request.MAX_HEADERS, passed)
  if identity.named_in_connection(settings.names, received) then
    facts.tell(settings, { service = service_name(conf), latency_ms = 0, cached = false }, "denied", 400)
    return denial.bad_request(received)
  end
  if passed or preflight then
    return stand_aside(conf, received, passed)
  end
  return decide(conf, settings, received, truncated)
end

return _M
end

modules["kong.plugins.credential-validator.handler"] = function(...)
-- Law of this file: it names the phases and does nothing else.

local execute = require("kong.plugins.credential-validator.access").execute
local pass_session_on = require("kong.plugins.credential-validator.session").pass_on

-- After Kong's own authenticators that need no call (key-auth 1250, basic-auth 1100), so that with `anonymous`
-- a request they have passed costs none; before what rests on a known caller (acl 950, rate-limiting 910).
local CredentialValidator = { VERSION = "0.1.0", PRIORITY = 1040 }

function CredentialValidator:access(conf) -- luacheck: ignore 212/self (Kong calls it as a method)
  return execute(conf)
end

-- What Kong Enterprise calls in the place of access on services of the protocols ws and wss.
CredentialValidator.ws_handshake = CredentialValidator.access

function CredentialValidator:header_filter() -- luacheck: ignore 212/self (as above)
  return pass_session_on()
end

return CredentialValidator
end

return require "kong.plugins.credential-validator.handler"
