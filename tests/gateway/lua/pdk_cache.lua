-- Law of this file: kong.cache as lua-resty-mlcache makes it: an LRU per worker, a shared dictionary under it, one
-- callback at a time for a key, errors never stored, a stale value handed out as hit level 4 where a callback fails. A
-- hit in the worker costs what it costs there: two calls and one look into the LRU.

local lrucache = require "resty.lrucache"

local concat, format, loadstring, setfenv = table.concat, string.format, loadstring, setfenv
local error, pairs, xpcall, traceback = error, pairs, xpcall, debug.traceback
local setmetatable, tostring, type = setmetatable, tostring, type

local LRU_ENTRIES = 10000
local LOCK_TIMEOUT_S, LOCK_EXPTIME_S = 5, 10
local LOCK_STEP_S = 0.002
local RESURRECT_TTL_S = 30 -- Kong's default: who wants nothing revived has to say so
local LEVEL_SINCE = 3002000
local STALE = 1 -- the dictionary's flag of a value that has been revived
local ABSENT = {} -- a nil that was stored
local STORABLE = { ["nil"] = true, boolean = true, number = true, string = true, table = true }

local function dump(value)
  if type(value) ~= "table" then
    return type(value) == "string" and format("%q", value) or tostring(value)
  end
  local members = {}
  for key, member in pairs(value) do
    members[#members + 1] = "[" .. dump(key) .. "]=" .. dump(member)
  end
  return "{" .. concat(members, ",") .. "}"
end

local function load(text)
  return setfenv(loadstring("return " .. text), {})()
end

-- mlcache's half, under the one that Kong's plugins call.
local Levels = {}
Levels.__index = Levels

local function check_number(options, name, default)
  local given = options[name]
  if given == nil then
    return default
  elseif type(given) ~= "number" then
    error("opts." .. name .. " must be a number", 4)
  elseif given < 0 then
    error("opts." .. name .. " must be >= 0", 4)
  end
  return given
end

-- Both ttl and neg_ttl default to 0, which is for ever, as in Kong.
local function check_options(options)
  if options ~= nil and type(options) ~= "table" then
    error("opts must be a table", 3)
  end
  options = options or {}
  local serializer = options.l1_serializer
  if serializer ~= nil and type(serializer) ~= "function" then
    error("opts.l1_serializer must be a function", 3)
  end
  return {
    ttl = check_number(options, "ttl", 0),
    neg_ttl = check_number(options, "neg_ttl", 0),
    resurrect_ttl = check_number(options, "resurrect_ttl", RESURRECT_TTL_S),
    l1_serializer = serializer,
  }
end

-- Returns what the worker holds from now on: the serializer's form of the value; or nil and an error.
function Levels:_remember_here(key, value, ttl, serializer)
  if value ~= nil and serializer then
    local ran, made, err = xpcall(serializer, traceback, value)
    if not ran then
      return nil, "l1_serializer threw an error: " .. tostring(made)
    elseif err then
      return nil, err
    elseif made == nil then
      return nil, "l1_serializer returned a nil value"
    end
    value = made
  end
  self.lru:set(key, value == nil and ABSENT or value, ttl > 0 and ttl or nil)
  return value
end

function Levels:_remember(key, value, ttl, serializer, flags)
  if not STORABLE[type(value)] then
    error("cannot cache value of type " .. type(value))
  end
  local stored, err = self.shm:set(key, dump(value), ttl, flags)
  if not stored and err ~= "no memory" then
    return nil, "could not write to lua_shared_dict: " .. err
  elseif not stored then
    ngx.log(ngx.WARN, "the shared dictionary refused a value: ", err)
  end
  return self:_remember_here(key, value, ttl, serializer)
end

-- What the shared dictionary holds: "fresh" or "stale" or nothing; the value; an error; and whether it was revived.
function Levels:_from_shm(key, serializer)
  local text, flags, stale = self.shm:get_stale(key)
  if not text then
    return nil
  end
  local value = load(text)
  if stale then
    return "stale", value
  end
  local revived, ttl = flags == STALE, self.shm:ttl(key)
  if ttl and ttl < 0 then
    return "fresh", value, nil, revived -- has run out since: as mlcache does, handed out as it is and not kept
  end
  local err
  value, err = self:_remember_here(key, value, ttl or 0, serializer)
  return "fresh", value, err, revived
end

function Levels:_lock(key)
  local waited = 0
  while not self.shm:add("lock:" .. key, true, LOCK_EXPTIME_S) do
    if waited >= LOCK_TIMEOUT_S then
      return false
    end
    ngx.sleep(LOCK_STEP_S)
    waited = waited + LOCK_STEP_S
  end
  return true
end

-- `stale` and `old`: that the dictionary holds a value that has run out, and which.
function Levels:_ask(key, options, stale, old, callback, ...)
  local ran, value, err, ttl = xpcall(callback, traceback, ...)
  if not ran then
    return nil, "callback threw an error: " .. tostring(value)
  end
  if err then
    if not stale then
      return nil, tostring(err)
    end
    ngx.log(ngx.WARN, "callback returned an error (", tostring(err), ") but stale value found in shm will be ",
      "resurrected for ", options.resurrect_ttl, "s (resurrect_ttl)")
    return self:_remember(key, old, options.resurrect_ttl, options.l1_serializer, STALE), nil, 4
  end
  if type(ttl) ~= "number" then
    ttl = value == nil and options.neg_ttl or options.ttl
  elseif ttl < 0 then
    return value, nil, 3 -- not to be stored
  end
  value, err = self:_remember(key, value, ttl, options.l1_serializer)
  return value, err, 3
end

function Levels:_get_or_ask(key, options, callback, ...)
  options = check_options(options)
  local found, value, err, revived = self:_from_shm(key, options.l1_serializer)
  if found == "fresh" then
    return value, err, revived and 4 or 2
  end
  if callback == nil then
    return nil, nil, -1
  end
  local old = value
  local stale = found == "stale"
  local locked = self:_lock(key)
  local now_found
  now_found, value, err, revived = self:_from_shm(key, options.l1_serializer)
  if now_found == "fresh" then
    if locked then
      self.shm:delete("lock:" .. key)
    end
    return value, err, revived and 4 or 2
  end
  if not locked then
    if stale then
      return old, nil, 4
    end
    return nil, "could not acquire callback lock: timeout"
  end
  local level
  value, err, level = self:_ask(key, options, stale, old, callback, ...)
  self.shm:delete("lock:" .. key)
  return value, err, level
end

function Levels:get(key, options, callback, ...)
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  if callback ~= nil and type(callback) ~= "function" then
    error("callback must be nil or a function", 2)
  end
  local value = self.lru:get(key)
  if value == ABSENT then
    return nil, nil, 1
  end
  if value ~= nil then
    return value, nil, 1
  end
  return self:_get_or_ask(key, options, callback, ...)
end

local Cache = {}
Cache.__index = Cache

-- Returns value, error, hit level; below Kong 3.2 the value or the error alone.
function Cache:get(key, options, callback, ...)
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  local value, err, level = self.levels:get(key, options, callback, ...)
  if err then
    return nil, "failed to get from node cache: " .. err
  end
  if self.no_level then
    return value
  end
  return value, nil, level
end

-- Returns the time left in seconds and the value, without asking for it; an error would stand between them.
function Cache:probe(key)
  local text, _, stale = self.levels.shm:get_stale(key)
  if text and not stale then
    return self.levels.shm:ttl(key), nil, load(text)
  end
end

function Cache:invalidate_local(key)
  self.levels.shm:delete(key)
  self.levels.lru:delete(key)
end

Cache.invalidate = Cache.invalidate_local

return function(dict, version_num)
  local shm = ngx.shared[dict]
  shm:flush_all() -- a reload, and every push of a configuration, empties Kong's cache
  local levels = setmetatable({ shm = shm, lru = lrucache.new(LRU_ENTRIES) }, Levels)
  return setmetatable({ levels = levels, no_level = version_num < LEVEL_SINCE }, Cache)
end
