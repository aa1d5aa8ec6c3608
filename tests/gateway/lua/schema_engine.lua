-- Law of this file: what Kong does with a plugin's schema before the plugin runs: unknown fields are refused, defaults
-- filled in, types, bounds and the schema's checks over several fields applied. Only what plugins of this kind use.

local definition = require "schema_definition"
local rules = require "schema_rules"

local concat, error, floor, format, ipairs = table.concat, error, math.floor, string.format, ipairs
local next, pairs, setmetatable, tostring, type = next, pairs, setmetatable, tostring, type

local NEWEST = 3009001

local _M = {}

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local made = {}
  for key, member in pairs(value) do
    made[key] = copy(member)
  end
  return made
end

local function is_sequence(value)
  if type(value) ~= "table" then
    return false
  end
  local count = 0
  for _ in pairs(value) do
    count = count + 1
    if value[count] == nil then
      return false
    end
  end
  return true
end

local judge, process_record

-- Returns the value without repetitions where it is a set, and nil or the mistakes by place.
local function judge_members(value, field)
  local errors, kept, seen = {}, {}, {}
  for at, member in ipairs(value) do
    local made, why = judge(member, field.elements)
    errors[at] = why
    if field.type == "array" or not seen[member] then
      kept[#kept + 1] = made
    end
    seen[member] = true
  end
  return kept, next(errors) and errors or nil
end

local function judge_map(value, field)
  local made = {}
  for key, member in pairs(value) do
    local _, why = judge(key, field.keys)
    if not why then
      made[key], why = judge(member, field.values)
    end
    if why then
      return value, why
    end
  end
  return made
end

local function judge_container(value, field)
  local kind = field.type
  if kind == "array" or kind == "set" then
    if not is_sequence(value) then
      return value, kind == "array" and "expected an array" or "expected a set"
    end
    return judge_members(value, field)
  end
  if type(value) ~= "table" then
    return value, "expected a " .. kind
  end
  return (kind == "map" and judge_map or process_record)(value, field)
end

local function type_error(value, kind)
  if kind == "integer" then
    local whole = type(value) == "number" and value == floor(value) and value ~= 1 / 0 and value ~= -1 / 0
    return not whole and "expected an integer" or nil
  end
  return type(value) ~= kind and "expected a " .. kind or nil
end

-- Returns the value as the plugin will see it, and nil or what is wrong with it.
function judge(value, field)
  local why
  if field.elements or field.values or field.fields then
    value, why = judge_container(value, field)
  else
    why = type_error(value, field.type)
  end
  if why then
    return value, why
  elseif field.type == "string" and field.referenceable and rules.is_reference(value) then
    return value
  elseif field.type == "string" and not field.len_min and value == "" then
    return value, "length must be at least 1"
  end
  return value, rules.refusal(value, field)
end

local function is_given(value)
  return value ~= nil and value ~= "" and value ~= rules.null and not (type(value) == "table" and not next(value))
end

local function quoted(names)
  local made = {}
  for at, name in ipairs(names) do
    made[at] = "'" .. name .. "'"
  end
  return concat(made, ", ")
end

local function field_at(record, path)
  for name in path:gmatch "[^.]+" do
    record = type(record) == "table" and record[name] or nil
  end
  return record
end

local function count_given(record, names)
  local count = 0
  for _, name in ipairs(names) do
    count = count + (is_given(field_at(record, name)) and 1 or 0)
  end
  return count
end

local COUNTED = {
  mutually_required = {
    "all or none of these fields must be set: %s", function(count, names)
      return count == 0 or count == #names
    end,
  },
  mutually_exclusive = {
    "only one or none of these fields must be set: %s", function(count)
      return count <= 1
    end,
  },
  at_least_one_of = {
    "at least one of these fields must be non-empty: %s", function(count)
      return count >= 1
    end,
  },
  only_one_of = {
    "exactly one of these fields must be non-empty: %s", function(count)
      return count == 1
    end,
  },
}

-- With the rest of what the schema says of a field behind it.
local function narrowed(match, field)
  return setmetatable(copy(match), { __index = field })
end

local function check_conditional(record, check, fields, errors)
  local value = field_at(record, check.if_field)
  if value == nil then
    return nil
  end
  local _, no = judge(value, narrowed(check.if_match, fields[check.if_field]))
  if no then
    return nil
  end
  local then_value = field_at(record, check.then_field)
  local why
  if then_value == nil then
    why = check.then_match.required and "required field missing" or nil
  else
    _, why = judge(then_value, narrowed(check.then_match, fields[check.then_field]))
  end
  errors[check.then_field] = errors[check.then_field] or why
  return why and (check.then_err and format(check.then_err, check.if_field)
    or format("failed conditional validation given value of field '%s'", check.if_field))
end

-- What a vault holds nobody knows yet: Kong then leaves the whole check out.
local function is_open(record, kind, argument)
  for _, name in ipairs(kind == "conditional" and { argument.if_field, argument.then_field } or argument) do
    if rules.is_reference(field_at(record, name)) then
      return true
    end
  end
  return false
end

local function run_entity_checks(record, owner, fields, errors)
  local said = {}
  for _, check in ipairs(owner.entity_checks or {}) do
    local kind, argument = next(check)
    local counted = COUNTED[kind]
    if not counted and kind ~= "conditional" then
      error("this stand-in runs no entity check " .. kind)
    elseif not is_open(record, kind, argument) then
      if kind == "conditional" then
        said[#said + 1] = check_conditional(record, argument, fields, errors)
      elseif not counted[2](count_given(record, argument), argument) then
        said[#said + 1] = format(counted[1], quoted(argument))
      end
    end
  end
  errors["@entity"] = said[1] and said or nil
end

-- Returns the record with its defaults, and nil or the mistakes by field.
function process_record(given, owner)
  local fields, errors, made = {}, {}, {}
  for _, entry in ipairs(owner.fields) do
    local name, field = next(entry)
    fields[name] = field
    local value = given[name]
    if value == nil then
      value = copy(field.default)
    end
    if value == nil and field.required and field.type == "record" then
      value = {}
    end
    if value ~= nil then
      made[name], errors[name] = judge(value, field)
    elseif field.required then
      errors[name] = "required field missing"
    end
  end
  for name in pairs(given) do
    if not fields[name] then
      errors[name] = "unknown field"
    end
  end
  run_entity_checks(made, owner, fields, errors)
  return made, next(errors) and errors or nil
end

-- The field `config`; throws where that version of Kong would not load the schema.
local function config_of(schema, version_num)
  definition.check(schema, version_num or NEWEST)
  for _, entry in ipairs(schema.fields) do
    if entry.config then
      return entry.config
    end
  end
  return error("the schema has no config", 0)
end

-- The configuration as the plugin will see it; or nil and the mistakes by field.
function _M.process(schema, given, version_num)
  local made, errors = judge(given, config_of(schema, version_num))
  if errors then
    return nil, errors
  end
  return made
end

local function describe(errors, where, lines)
  if type(errors) ~= "table" then
    lines[#lines + 1] = where .. ": " .. tostring(errors)
    return
  end
  for name, why in pairs(errors) do
    if name == "@entity" then
      describe(concat(why, "; "), where, lines)
    else
      describe(why, where .. (type(name) == "number" and "[" .. name .. "]" or "." .. name), lines)
    end
  end
end

-- The mistakes in one line.
function _M.describe(errors)
  local lines = {}
  describe(errors, "config", lines)
  table.sort(lines)
  return concat(lines, "; ")
end

return _M
