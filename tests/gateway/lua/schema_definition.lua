-- Law of this file: whether that version of Kong would load a schema at all. What Kong would load and then not honour
-- is refused as well.

local rules = require "schema_rules"

local error, ipairs, next, pairs, tostring, type = error, ipairs, next, pairs, tostring, type

local DESCRIPTION_SINCE = 3004000
local DESCRIPTION_MIN, DESCRIPTION_MAX = 10, 500

local TYPES = {
  array = "elements", set = "elements", map = "values", record = "fields", string = "", number = "", boolean = "",
  integer = "", foreign = "reference", ["function"] = "",
}
local ANYWHERE = {
  type = true, required = true, default = true, elements = true, keys = true, values = true, fields = true,
  reference = true, referenceable = true, encrypted = true, err = true, description = true, entity_checks = true,
  unique = true, abstract = true, on_delete = true,
}
for _, name in ipairs(rules.ORDER) do
  ANYWHERE[name] = true
end

local SIZED = { array = true, set = true, map = true, string = true }
-- Kong compares without a look at the type: anywhere else it would throw.
local ONLY_FOR = {
  between = { integer = true, number = true }, gt = { integer = true, number = true },
  one_of = { string = true, number = true, integer = true }, contains = { array = true, set = true },
  len_eq = SIZED, len_min = SIZED, len_max = SIZED, match = { string = true }, not_match = { string = true },
  match_any = { string = true }, match_all = { string = true }, match_none = { string = true },
  starts_with = { string = true },
}
local ENTITY_CHECKS = {
  mutually_required = true, at_least_one_of = true, only_one_of = true, mutually_exclusive = true, distinct = true,
  conditional = true,
}

local _M = {}

local check_fields

local function check_entity_checks(where, owner, names)
  for _, check in ipairs(owner.entity_checks or {}) do
    local kind, argument = next(check)
    if not ENTITY_CHECKS[kind] then
      error(where .. ": unknown entity check '" .. tostring(kind) .. "'", 0)
    end
    local about = kind == "conditional" and { argument.if_field, argument.then_field } or argument
    for _, name in ipairs(about) do
      if not names[name:match "^[^.]+"] then
        error(where .. ": entity check " .. kind .. " names no field: " .. name, 0)
      end
    end
  end
end

local function check_description(where, text, version_num)
  if version_num < DESCRIPTION_SINCE then
    error(where .. ": unknown field 'description'", 0)
  elseif type(text) ~= "string" or #text < DESCRIPTION_MIN then
    error(where .. ": description: length must be at least " .. DESCRIPTION_MIN, 0)
  elseif #text > DESCRIPTION_MAX then
    error(where .. ": description: length must be at most " .. DESCRIPTION_MAX, 0)
  end
end

local function check_field(where, field, version_num)
  local kind = field.type
  local needs = TYPES[kind]
  if not needs then
    error(where .. ": invalid type: " .. tostring(kind), 0)
  elseif needs ~= "" and not field[needs] then
    error(where .. ": field of type '" .. kind .. "' must declare '" .. needs .. "'", 0)
  elseif field.referenceable and kind ~= "string" then
    error(where .. ": only strings, by themselves or in an array, set or map, can be referenceable", 0)
  end
  for attribute in pairs(field) do
    if not ANYWHERE[attribute] then
      error(where .. ": unknown field '" .. tostring(attribute) .. "'", 0)
    elseif ONLY_FOR[attribute] and not ONLY_FOR[attribute][kind] then
      error(where .. ": field of type '" .. kind .. "' cannot have attribute '" .. attribute .. "'", 0)
    end
  end
  if field.description ~= nil then
    check_description(where, field.description, version_num)
  end
  for _, part in ipairs { "elements", "keys", "values" } do
    if field[part] then
      check_field(where .. "." .. part, field[part], version_num)
    end
  end
  if field.fields then
    check_fields(where, field, version_num)
  end
end

function check_fields(where, owner, version_num)
  local names = {}
  for _, entry in ipairs(owner.fields) do
    local name, field = next(entry)
    if type(field) ~= "table" or next(entry, name) ~= nil then
      error(where .. ": each entry of fields must hold one field and no more", 0)
    elseif names[name] then
      error(where .. ": the field '" .. name .. "' stands there twice", 0)
    end
    names[name] = true
    check_field(where == "" and name or where .. "." .. name, field, version_num)
  end
  check_entity_checks(where, owner, names)
end

-- Throws with the field and the reason.
function _M.check(schema, version_num)
  for name in pairs(schema) do
    if name ~= "name" and name ~= "fields" and name ~= "entity_checks" then
      error("schema: unknown field '" .. tostring(name) .. "'", 0)
    end
  end
  if type(schema.name) ~= "string" then
    error("schema: name: required field missing", 0)
  elseif type(schema.fields) ~= "table" then
    error("schema: 'fields' must be a table", 0)
  end
  check_fields("", schema, version_num)
end

return _M
