-- Law of this file: a chunk run as Kong runs one that it has streamed: with the listed names alone, of which none can
-- be written to, and with methods of kong.cache and kong.db that work whatever they are called on.

local lists = require "sandbox_lists"

local error, getmetatable, io, ipairs, load, pairs, rawset = error, getmetatable, io, ipairs, load, pairs, rawset
local real_require, setmetatable, type = require, setmetatable, type

local ENTITY, CACHE = "^kong%.db%.%w+$", "^kong%.cache$"

local _M = {}

local function method_of(owner, name)
  return type(owner[name]) == "function" and function(_, ...)
    return owner[name](owner, ...)
  end
end

-- The names, separated by blanks, as members of the environment's own `parent`, which is "" for a global.
local function include(env, parent, names)
  local from, into = _G, env
  for part in parent:gmatch "[^.]+" do
    into[part] = into[part] or {}
    into = into[part]
    from = type(from) == "table" and from[part] or nil
  end
  local as_method = parent:find(ENTITY) or parent:find(CACHE)
  for name in names:gmatch "%S+" do
    if type(from) ~= "table" then
      into[name] = false -- as there: what this Kong lacks is no nil
    elseif as_method then
      into[name] = method_of(from, name)
    else
      into[name] = from[name]
    end
  end
end

local function lock(owner, path)
  return setmetatable(owner, { __newindex = function(_, name)
    error("Cannot modify " .. path .. "." .. name .. ". Protected by the sandbox.", 2)
  end })
end

local function protect(owner, path)
  for name, member in pairs(owner) do
    if type(member) == "table" then
      protect(member, path and path .. "." .. name or name)
    end
  end
  if path and path ~= "ngx" then
    lock(owner, path)
  end
end

-- Reads and writes pass through by name; what walks over it finds nothing.
local function window(name)
  return setmetatable({}, {
    __index = function(_, key)
      return kong.ctx[name][key]
    end,
    __newindex = function(_, key, value)
      kong.ctx[name][key] = value
    end,
  })
end

local function only(modules)
  local allowed = {}
  for name in modules:gmatch "%S+" do
    allowed[name] = true
  end
  return function(name)
    if not allowed[name] then
      error("require '" .. name .. "' not allowed within sandbox", 2)
    end
    return real_require(name)
  end
end

local function environment(kind)
  local env = {}
  for parent, names in pairs(lists[kind]) do
    include(env, parent, names)
  end
  env.require = only(lists.modules[kind])
  protect(env)
  rawset(env, "_G", env)
  if env.ngx then
    setmetatable(env.ngx, getmetatable(ngx)) -- ctx, status, headers_sent
    for _, name in ipairs { "var", "arg", "header" } do
      rawset(env.ngx, name, ngx[name])
    end
  end
  if env.kong then
    getmetatable(env.kong.log).__call = (getmetatable(kong.log) or {}).__call
    rawset(env.kong, "configuration", kong.configuration)
    rawset(env.kong, "ctx", lock({ shared = window "shared", plugin = window "plugin" }, "kong.ctx"))
  end
  return env
end

-- What the file returns: `kind` is "handler" or "schema".
function _M.run(path, kind)
  local file = io.open(path) or error("there is no " .. path)
  local text = file:read "*a"
  file:close()
  local chunk, err = load(text, "=" .. kind .. ".lua", "t", environment(kind))
  if not chunk then
    error(err, 0)
  end
  return chunk()
end

return _M
