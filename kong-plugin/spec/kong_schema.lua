-- Law of this file: what Kong makes of a schema's declarations, as far as this plugin uses them. A declaration that it
-- does not know is an error, as it is in Kong.

local function check_type(value, wanted)
  if wanted == "integer" then
    return type(value) == "number" and value % 1 == 0
  end
  return type(value) == (wanted == "array" and "table" or wanted)
end

-- By the declaration's name: what is wrong with the value, or nil.
local CHECKS = {
  between = function(value, bounds)
    return (value < bounds[1] or value > bounds[2]) and "value should be between its bounds" or nil
  end,
  len_max = function(value, most)
    return #value > most and "length must be at most " .. most or nil
  end,
  one_of = function(value, allowed)
    for _, one in ipairs(allowed) do
      if value == one then
        return nil
      end
    end
    return "expected one of: " .. table.concat(allowed, ", ")
  end,
  match_all = function(value, list)
    for _, each in ipairs(list) do
      if not value:match(each.pattern) then
        return each.err
      end
    end
  end,
  match_none = function(value, list)
    for _, each in ipairs(list) do
      if value:match(each.pattern) then
        return each.err
      end
    end
  end,
  match_any = function(value, any)
    for _, pattern in ipairs(any.patterns) do
      if value:match(pattern) then
        return nil
      end
    end
    return any.err
  end,
}
local WITHOUT_CHECK = {
  default = true, description = true, encrypted = true, referenceable = true, required = true, type = true,
}

local check

CHECKS.elements = function(value, element)
  for _, one in ipairs(value) do
    local good, why = check(element, one)
    if not good then
      return why
    end
  end
end

function check(field, value)
  if not check_type(value, field.type) then
    return nil, "expected a " .. field.type
  end
  if value == "" then
    return nil, "length must be at least 1"
  end
  for name, declared in pairs(field) do
    if not WITHOUT_CHECK[name] then
      local why = assert(CHECKS[name], "unknown field '" .. name .. "'")(value, declared)
      if why then
        return nil, why
      end
    end
  end
  return true
end

local _M = {}

-- The fields of `config` by name, and their names in order.
function _M.config_fields(schema)
  local fields, names = {}, {}
  for _, entry in ipairs(schema.fields) do
    for _, candidate in ipairs(entry.config and entry.config.fields or {}) do
      local name, field = next(candidate)
      fields[name] = field
      names[#names + 1] = name
    end
  end
  return fields, names
end

-- A function that says true of a value, or nil and what is wrong with it.
function _M.checker(schema, name)
  local field = assert(_M.config_fields(schema)[name], "no field " .. name)
  return function(value)
    return check(field, value)
  end
end

return _M
