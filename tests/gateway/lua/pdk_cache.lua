-- Law of this file: kong.cache as lua-resty-mlcache makes it: an LRU per worker, a shared dictionary under it, one
-- callback at a time for a key, errors never stored, a stale value handed out as hit level 4 where a callback fails. A
-- hit in the worker costs what it costs there: two calls and one look into the LRU.

local lrucache = require "resty.lrucache"

local concat, format, loadstring, setfenv = table.concat, string.format, loadstring, setfenv
local error, pairs, pcall = error, pairs, pcall
local setmetatable, tostring, type = setmetatable, tostring, type

local LRU_ENTRIES = 10000
local LOCK_TIMEOUT_S = 5
local LOCK_STEP_S = 0.002
local ABSENT = {} -- a nil that was stored

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
  end
  if type(given) ~= "number" or given < 0 then
    error("opts." .. name .. " must be a number >= 0", 4)
  end
  return given
end

-- Both ttl and neg_ttl default to 0, which is for ever, as in Kong.
local function check_options(options)
  options = options or {}
  local serializer = options.l1_serializer
  if serializer ~= nil and type(serializer) ~= "function" then
    error("opts.l1_serializer must be a function", 3)
  end
  return {
    ttl = check_number(options, "ttl", 0),
    neg_ttl = check_number(options, "neg_ttl", 0),
    resurrect_ttl = check_number(options, "resurrect_ttl"),
    l1_serializer = serializer,
  }
end

-- Returns what the worker holds from now on: the serializer's form of the value; or nil and an error.
function Levels:_remember_here(key, value, ttl, serializer)
  if value ~= nil and serializer then
    local ran, made, err = pcall(serializer, value)
    if not ran or err or made == nil then
      return nil, "l1_serializer: " .. tostring(not ran and made or err or "returned a nil value")
    end
    value = made
  end
  self.lru:set(key, value == nil and ABSENT or value, ttl > 0 and ttl or nil)
  return value
end

function Levels:_remember(key, value, ttl, serializer)
  local stored, err = self.shm:set(key, dump(value), ttl)
  if not stored then
    ngx.log(ngx.WARN, "the shared dictionary refused a value: ", err)
  end
  return self:_remember_here(key, value, ttl, serializer)
end

-- Returns whether the shared dictionary holds the key, the value, and an error.
function Levels:_from_shm(key, serializer)
  local text = self.shm:get(key)
  if not text then
    return false
  end
  local value, ttl = load(text), self.shm:ttl(key)
  if ttl and ttl < 0 then
    return true, value -- has run out since: as mlcache does, handed out as it is and not kept
  end
  return true, self:_remember_here(key, value, ttl or 0, serializer)
end

function Levels:_lock(key)
  local waited = 0
  while not self.shm:add("lock:" .. key, true, LOCK_TIMEOUT_S * 2) do
    if waited >= LOCK_TIMEOUT_S then
      return nil, "could not acquire callback lock: timeout"
    end
    ngx.sleep(LOCK_STEP_S)
    waited = waited + LOCK_STEP_S
  end
  return true
end

function Levels:_ask(key, options, callback, ...)
  local ran, value, err, ttl = pcall(callback, ...)
  if not ran then
    return nil, "callback threw an error: " .. tostring(value)
  end
  if err then
    local stale = self.shm:get_stale(key)
    if stale and options.resurrect_ttl then
      return self:_remember(key, load(stale), options.resurrect_ttl, options.l1_serializer), nil, 4
    end
    return nil, tostring(err)
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
  local found, value, err = self:_from_shm(key, options.l1_serializer)
  if found then
    return value, err, 2
  end
  local locked, lock_err = self:_lock(key)
  if not locked then
    return nil, lock_err
  end
  found, value, err = self:_from_shm(key, options.l1_serializer)
  if found then
    self.shm:delete("lock:" .. key)
    return value, err, 2
  end
  local level
  value, err, level = self:_ask(key, options, callback, ...)
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

-- Returns value, error, hit level.
function Cache:get(key, options, callback, ...)
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  local value, err, level = self.levels:get(key, options, callback, ...)
  if err then
    return nil, "failed to get from node cache: " .. err
  end
  return value, nil, level
end

return function(dict)
  local shm = ngx.shared[dict]
  shm:flush_all() -- a reload, and every push of a configuration, empties Kong's cache
  local levels = setmetatable({ shm = shm, lru = lrucache.new(LRU_ENTRIES) }, Levels)
  return setmetatable({ levels = levels }, Cache)
end
