-- Law of this file: it loads a handler or a schema with Kong's names alone, and prints what it took, line by line.

local path, kind = arg[1], arg[2]

-- Anything: a table of itself that can be called.
local anything
anything = setmetatable({}, {
  __index = function()
    return anything
  end,
  __call = function()
    return anything
  end,
})

local GIVEN = {
  bit = bit, error = error, ipairs = ipairs, math = math, next = next, pairs = pairs, pcall = pcall, select = select,
  string = string, table = table, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  xpcall = xpcall,
}
if kind == "handler" then
  GIVEN.kong, GIVEN.ngx = anything, anything
  function GIVEN.require(name)
    print("require " .. name)
    return anything
  end
end

local env = setmetatable({}, {
  __index = function(_, name)
    if GIVEN[name] == nil then
      print("missing " .. name)
    end
    return GIVEN[name]
  end,
  __newindex = function(_, name)
    print("written " .. name)
  end,
})

local file = assert(io.open(path))
local chunk = assert(load(file:read "*a", "=" .. kind .. ".lua", "t", env))
file:close()
local made = chunk()

for name, value in pairs(made) do
  if type(value) ~= "table" then
    print("has " .. name .. " " .. (type(value) == "function" and "function" or tostring(value)))
  end
end
if kind == "handler" then
  -- A configuration that cannot be read, as Kong's error log would tell of it.
  local conf = setmetatable({}, {
    __index = function(_, name)
      error("no " .. name)
    end,
  })
  local _, trace = xpcall(made.access, debug.traceback, made, conf)
  print("trace " .. (tostring(trace):gsub("\n", " ")))
end
