-- Law of this file: kong.response: answers that the gateway makes itself, gRPC's form of them included, and the
-- headers of every answer.

local headers = require "pdk_headers"
local json = require "json"
local phases = require "pdk_phases"
local add_header = require("ngx.resp").add_header

local check_phase, check_all, normalize, set_response =
  phases.check, headers.check_all, headers.normalize, headers.set_response
local error, find, lower, pairs, type = error, string.find, string.lower, pairs, type

local BEFORE_BODY, RESPONDED, HEADER_FILTER = phases.before_body, phases.responded, phases.header_filter
local MAX_HEADERS = 1000
local REQUEST_ID_SINCE = 3005000

local GRPC = "application/grpc"
local GRPC_STATUS = {
  [200] = 0, [400] = 3, [401] = 16, [403] = 7, [404] = 5, [409] = 6, [429] = 8, [499] = 1, [500] = 13, [501] = 12,
  [503] = 14, [504] = 4,
}
local GRPC_MESSAGE = {
  [0] = "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
  "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal",
  "Unavailable", "DataLoss", "Unauthenticated",
}
local GRPC_UNKNOWN = 2

local MESSAGES = {
  [400] = "Bad request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not found", [429] = "Too many requests",
  [494] = "Request header or cookie too large", [500] = "An unexpected error occurred",
  [502] = "An invalid response was received from the upstream server",
  [503] = "The upstream server is currently unavailable", [504] = "The upstream server is timing out",
}

-- Only over HTTP/2: a request that merely says so over HTTP/1.1 is none.
local function is_grpc_request()
  local kind = ngx.var.content_type
  return kind and find(kind, GRPC, 1, true) == 1 and ngx.req.http_version() == 2
end

local function grpc_status_for(status)
  if GRPC_STATUS[status] then
    return GRPC_STATUS[status]
  elseif status >= 500 then
    return GRPC_STATUS[500]
  elseif status >= 400 then
    return GRPC_STATUS[400]
  end
  return status >= 200 and status < 300 and GRPC_STATUS[200] or GRPC_UNKNOWN
end

-- Returns whether a type and a length of the body are among them.
local function set_headers(given)
  local typed, sized = false, false
  for name, value in pairs(given or {}) do
    local lowered = lower(name):gsub("_", "-")
    if lowered == "transfer-encoding" then
      kong.log.warn("manually setting Transfer-Encoding. Ignored.")
    else
      set_response(name, normalize(value))
    end
    typed = typed or lowered == "content-type"
    sized = sized or lowered == "content-length"
  end
  return typed, sized
end

-- Ends the answer; nil is no body at all, for which nginx may have words of its own.
local function finish(status, body)
  local ctx = ngx.ctx
  local filtered = ctx.KONG_PHASE == HEADER_FILTER
  if filtered then
    ctx.response_body = body
  elseif body then
    ngx.print(body)
  end
  return ngx.exit(filtered and ngx.OK or status)
end

-- The text of a body, and whether it is JSON that was made of a table. A gRPC answer can carry none: what is left of a
-- table is its message.
local function body_text(body, grpc, grpc_output)
  if type(body) ~= "table" then
    return body, false
  elseif not grpc then
    return json.encode(body), true
  elseif grpc_output then
    error("table body encoding with gRPC is not supported", 4)
  end
  return type(body.message) == "string" and body.message or nil, false
end

-- Whether the request is a gRPC one or the answer says that it is, and whether the answer does.
local function grpc_of(kind)
  if kind then
    local is_output = find(kind, GRPC, 1, true) == 1
    return is_output, is_output
  end
  return is_grpc_request(), false
end

-- Sets gRPC's own headers. Of a body that is not gRPC's the text becomes the message: there is no other place for
-- words. Returns the body that is left, and whether one was taken.
local function set_grpc(status, body, grpc_output)
  local message
  if not ngx.header["grpc-status"] then
    local grpc_status = grpc_status_for(status)
    ngx.header["grpc-status"] = grpc_status
    message = GRPC_MESSAGE[grpc_status]
  end
  if body ~= nil and not grpc_output then
    ngx.header["grpc-message"] = body
    return "", true
  elseif message and not ngx.header["grpc-message"] then
    ngx.header["grpc-message"] = message
  end
  return body or "", false
end

local function send(status, body, given)
  ngx.status = status
  local typed, sized = set_headers(given)
  local grpc, grpc_output = grpc_of(ngx.header["Content-Type"])
  local content, encoded = body_text(body, grpc, grpc_output)
  if encoded and not typed then
    ngx.header["Content-Type"] = "application/json; charset=utf-8"
  end
  local taken = false
  if grpc then
    content, taken = set_grpc(status, content, grpc_output)
  end
  if taken or not sized then
    ngx.header["Content-Length"] = content and #content or 0
  end
  return finish(status, content)
end

local function check_status(status, least)
  if ngx.headers_sent then
    error("headers have already been sent", 3)
  elseif type(status) ~= "number" then
    error("code must be a number", 3)
  elseif status < least or status > 599 then
    error("code must be a number between " .. least .. " and 599", 3)
  end
end

return function(version_num)
  local check_header = headers.checker(version_num)
  local _M = {}

  local function error_body(message)
    return json.encode {
      message = message, request_id = version_num >= REQUEST_ID_SINCE and ngx.var.request_id or nil,
    }
  end

  function _M.get_status()
    check_phase(RESPONDED)
    return ngx.status
  end

  function _M.get_headers(max_headers)
    check_phase(RESPONDED)
    if max_headers ~= nil and (type(max_headers) ~= "number" or max_headers < 1 or max_headers > MAX_HEADERS) then
      error("max_headers must be a number between 1 and " .. MAX_HEADERS, 2)
    end
    return ngx.resp.get_headers(max_headers)
  end

  function _M.get_header(name)
    check_phase(RESPONDED)
    if type(name) ~= "string" then
      error("header name must be a string", 2)
    end
    local value = _M.get_headers()[name]
    return type(value) == "table" and value[1] or value
  end

  function _M.get_source()
    check_phase(RESPONDED)
    local ctx = ngx.ctx
    return ctx.KONG_UNEXPECTED and "error" or ctx.KONG_EXITED and "exit" or ctx.KONG_PROXIED and "service" or "error"
  end

  function _M.set_header(name, value)
    check_phase(BEFORE_BODY)
    if ngx.headers_sent then
      error("headers have already been sent", 2)
    end
    check_header(name, value)
    set_response(name, normalize(value))
  end

  function _M.add_header(name, value)
    check_phase(BEFORE_BODY)
    if ngx.headers_sent then
      error("headers have already been sent", 2)
    end
    check_header(name, value)
    add_header(name, normalize(value))
  end

  function _M.clear_header(name)
    check_phase(BEFORE_BODY)
    if type(name) ~= "string" then
      error("header name must be a string", 2)
    end
    ngx.header[name] = nil
  end

  function _M.exit(status, body, given)
    check_phase(BEFORE_BODY)
    check_status(status, 100)
    if body ~= nil and type(body) ~= "string" and type(body) ~= "table" then
      error("body must be a nil, string or table", 2)
    elseif given ~= nil and type(given) ~= "table" then
      error("headers must be a nil or table", 2)
    elseif given then
      check_all(given)
    end
    ngx.ctx.KONG_EXITED = true
    return send(status, body, given)
  end

  -- In Kong's own form of an error, of which only JSON's and gRPC's are here.
  function _M.error(status, message, given)
    check_phase(BEFORE_BODY)
    check_status(status, 400)
    message = message or MESSAGES[status] or "The upstream server responded with " .. status
    given = given or {}
    check_all(given)
    ngx.ctx.KONG_EXITED = true
    if is_grpc_request() then
      given["Content-Type"] = GRPC
      return send(status, nil, given)
    end
    given["Content-Type"] = given["Content-Type"] or "application/json; charset=utf-8"
    return send(status, error_body(message), given)
  end

  -- What nginx answers by itself.
  function _M.unexpected()
    local status = ngx.status
    ngx.ctx.KONG_EXITED = true
    local message = MESSAGES[status] or "The upstream server responded with " .. status
    local grpc = find(ngx.var.http_accept or ngx.var.content_type or "", GRPC, 1, true) == 1
    status = status == 494 and 400 or status
    if grpc then
      return send(status, { message = message })
    end
    return send(status, error_body(message), { ["Content-Type"] = "application/json; charset=utf-8" })
  end

  return _M
end
