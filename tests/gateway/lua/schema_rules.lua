-- Law of this file: the checks that a schema may ask for, in Kong's order and words. Nothing here knows of records.

local concat, find, format, ipairs, match = table.concat, string.find, string.format, ipairs, string.match
local pairs, tostring, type = pairs, tostring, type

local _M = {}

-- Lengths of strings, arrays, sets and maps.
local function length(value, kind)
  local count = #value
  if kind == "map" then
    for _ in pairs(value) do
      count = count + 1
    end
  end
  return count
end

local checks = {}

function checks.eq(value, wanted)
  return value == wanted, "value must be " .. (wanted == _M.null and "null" or tostring(wanted))
end

function checks.ne(value, wanted)
  return value ~= wanted, "value must not be " .. (wanted == _M.null and "null" or tostring(value))
end

function checks.one_of(value, options)
  for _, option in ipairs(options) do
    if value == option then
      return true
    end
  end
  return false, "expected one of: " .. concat(options, ", ")
end

function checks.not_one_of(value, options)
  return not checks.one_of(value, options), "must not be one of: " .. concat(options, ", ")
end

function checks.gt(value, limit)
  return value > limit, "value must be greater than " .. tostring(limit)
end

function checks.between(value, limits)
  return value >= limits[1] and value <= limits[2],
    format("value should be between %d and %d", limits[1], limits[2])
end

function checks.len_eq(value, wanted, field)
  return length(value, field.type) == wanted, format("length must be %d", wanted)
end

function checks.len_min(value, least, field)
  return length(value, field.type) >= least, format("length must be at least %d", least)
end

function checks.len_max(value, most, field)
  return length(value, field.type) <= most, format("length must be at most %d", most)
end

function checks.starts_with(value, wanted)
  return value:sub(1, #wanted) == wanted, "should start with: " .. wanted
end

function checks.not_match(value, pattern)
  return not match(value, pattern), "invalid value: " .. value
end

function checks.match(value, pattern)
  return match(value, pattern) ~= nil, "invalid value: " .. value
end

function checks.match_none(value, list)
  for _, one in ipairs(list) do
    if match(value, one.pattern) then
      return false, one.err or "invalid value: " .. value
    end
  end
  return true
end

function checks.match_all(value, list)
  for _, one in ipairs(list) do
    if not match(value, one.pattern) then
      return false, one.err or "invalid value: " .. value
    end
  end
  return true
end

function checks.match_any(value, list)
  for _, pattern in ipairs(list.patterns) do
    if match(value, pattern) then
      return true
    end
  end
  return false, list.err or "invalid value: " .. value
end

function checks.contains(value, wanted)
  for _, member in ipairs(value) do
    if member == wanted then
      return true
    end
  end
  return false, "expected to contain: " .. tostring(wanted)
end

function checks.custom_validator(value, judge)
  return judge(value)
end

_M.ORDER = {
  "eq", "ne", "not_one_of", "one_of", "gt", "between", "len_eq", "len_min", "len_max", "starts_with", "not_match",
  "match_none", "match", "match_all", "match_any", "contains", "custom_validator",
}
_M.null = ngx and ngx.null

-- Nil, or why the value is refused.
function _M.refusal(value, field)
  for _, name in ipairs(_M.ORDER) do
    if field[name] ~= nil then
      local good, why = checks[name](value, field[name], field)
      if not good then
        return field.err or why or "failed validating: " .. tostring(value)
      end
    end
  end
  return nil
end

-- What Kong takes for a reference into a vault.
function _M.is_reference(value)
  return type(value) == "string" and find(value, "^{vault://.+}$") ~= nil
end

return _M
