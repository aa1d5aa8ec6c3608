-- Law of this file: what Kong does with a plugin's schema before the plugin runs: unknown fields are refused, defaults
-- filled in, types, bounds and the schema's own validators applied. Only what authentication plugins use.

local type, pairs, ipairs, tostring = type, pairs, ipairs, tostring

local _M = {}

local KNOWN = {
  type = true, required = true, default = true, between = true, one_of = true, elements = true, fields = true,
  custom_validator = true, referenceable = true, encrypted = true, reference = true, eq = true, len_min = true,
  match = true,
}

local function check_type(value, wanted)
  if wanted == "integer" then
    return type(value) == "number" and value % 1 == 0, "expected an integer"
  end
  return type(value) == wanted, "expected a " .. wanted
end

local function check_value(value, field)
  local typed, type_err = check_type(value, field.type)
  if not typed then
    return type_err
  end
  if field.type == "string" and value == "" then
    return "length must be at least 1"
  end
  if field.between and (value < field.between[1] or value > field.between[2]) then
    return "value should be between " .. field.between[1] .. " and " .. field.between[2]
  end
  if field.custom_validator then
    local good, why = field.custom_validator(value)
    return not good and why or nil
  end
  return nil
end

-- The fields of `config` by name; throws where the schema itself is none that Kong 3.0 takes.
function _M.config_fields(schema)
  for _, entry in ipairs(schema.fields) do
    if entry.config then
      local fields = {}
      for _, field in ipairs(entry.config.fields) do
        local name, rules = next(field)
        for rule in pairs(rules) do
          if not KNOWN[rule] then
            error("field " .. name .. ": unknown field '" .. rule .. "'")
          end
        end
        fields[name] = rules
      end
      return fields
    end
  end
  return error("the schema has no config")
end

-- The configuration as the plugin will see it; or nil and the mistakes by field.
function _M.process(schema, given)
  local fields, conf, errors = _M.config_fields(schema), {}, {}
  for name, value in pairs(given) do
    if not fields[name] then
      errors[name] = "unknown field"
    end
    conf[name] = value
  end
  for name, field in pairs(fields) do
    if conf[name] == nil then
      conf[name] = field.default
    end
    if conf[name] ~= nil then
      errors[name] = check_value(conf[name], field)
    elseif field.required then
      errors[name] = "required field missing"
    end
  end
  if next(errors) then
    return nil, errors
  end
  return conf
end

-- The mistakes in one line.
function _M.describe(errors)
  local lines = {}
  for name, why in pairs(errors) do
    lines[#lines + 1] = "config." .. name .. ": " .. tostring(why)
  end
  table.sort(lines)
  return table.concat(lines, "; ")
end

return _M
