-- Law of this file: which values Kong takes for a header, and what it makes of them.

local error, format, ipairs, pairs = error, string.format, ipairs, pairs
local tostring, type = tostring, type

local ARRAYS_SINCE = 3006000 -- until then set_header and add_header took single values alone

local _M = {}

local function check_array(name, values)
  for _, value in ipairs(values) do
    if type(value) ~= "string" then
      error(format("invalid header value in array %q: got %s, expected string", name, type(value)), 4)
    end
  end
end

-- The check of one header for that version of Kong, made once and called for every header.
function _M.checker(version_num)
  local arrays = version_num >= ARRAYS_SINCE
  local wanted = arrays and "array of string, string, number or boolean" or "string, number or boolean"
  return function(name, value)
    if type(name) ~= "string" then
      error(format("invalid header name %q: got %s, expected string", tostring(name), type(name)), 3)
    end
    local kind = type(value)
    if kind == "string" or kind == "number" or kind == "boolean" then
      return
    end
    if kind ~= "table" or not arrays then
      error(format("invalid header value for %q: got %s, expected %s", name, kind, wanted), 3)
    end
    check_array(name, value)
  end
end

-- Of many headers by name, each of which may be an array in every version.
function _M.check_all(headers)
  for name, value in pairs(headers) do
    if type(name) ~= "string" then
      error(format("invalid header name %q: got %s, expected string", tostring(name), type(name)), 3)
    end
    local kind = type(value)
    if kind == "table" then
      check_array(name, value)
    elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      error(format("invalid header value for %q: got %s, expected string, number, boolean or array of strings", name,
        kind), 3)
    end
  end
end

-- nginx drops a header whose value is empty, so Kong sends a blank.
function _M.normalize(value)
  if type(value) == "string" then
    return value == "" and " " or value
  end
  if type(value) ~= "table" then
    return tostring(value)
  end
  local made = {}
  for at, one in ipairs(value) do
    made[at] = one == "" and " " or one
  end
  return made
end

-- nginx has one place for WWW-Authenticate: the last of several values wins.
function _M.set_response(name, value)
  if type(value) == "table" and name:lower() == "www-authenticate" then
    value = value[#value]
  end
  ngx.header[name] = value
end

return _M
