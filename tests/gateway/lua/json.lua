-- Law of this file: Lua values as JSON. It only writes: nothing here reads what others wrote.

local concat, format, pairs, sort, tostring, type = table.concat, string.format, pairs, table.sort, tostring, type

local encode

local function text(value)
  return '"' .. value:gsub('[%c"\\\127-\255]', function(char)
    return format("\\u%04x", char:byte())
  end) .. '"'
end

local function object(value)
  local names, lines = {}, {}
  for name in pairs(value) do
    names[#names + 1] = tostring(name)
  end
  sort(names)
  for at, name in pairs(names) do
    local member = value[name]
    lines[at] = text(name) .. ":" .. encode(member == nil and value[tonumber(name)] or member)
  end
  return "{" .. concat(lines, ",") .. "}"
end

-- A table with a first element is an array; bytes beyond ASCII are written each as a code point of its own.
function encode(value)
  local kind = type(value)
  if kind == "string" then
    return text(value)
  elseif kind == "number" then
    return format("%.14g", value)
  elseif kind ~= "table" then
    return (kind == "boolean") and tostring(value) or "null"
  elseif value[1] == nil then
    return object(value)
  end
  local members = {}
  for at = 1, #value do
    members[at] = encode(value[at])
  end
  return "[" .. concat(members, ",") .. "]"
end

return { encode = encode, text = text }
