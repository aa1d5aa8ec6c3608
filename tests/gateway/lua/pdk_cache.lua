-- Law of this file: kong.cache as lua-resty-mlcache makes it: an LRU per worker, a shared dictionary under it, one
-- callback at a time for a key, errors never stored, a stale value handed out as hit level 4 where a callback fails.

local lrucache = require "resty.lrucache"

local concat, format, loadstring, setfenv = table.concat, string.format, loadstring, setfenv
local error, max, pairs, pcall = error, math.max, pairs, pcall
local setmetatable, tostring, type = setmetatable, tostring, type

local LRU_ENTRIES = 10000
local LOCK_TIMEOUT_S = 5
local LOCK_STEP_S = 0.002
local ABSENT = {} -- a nil that was stored

local Cache = {}
Cache.__index = Cache

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

local function given(ttl, default)
  if ttl == nil then
    return default
  end
  if type(ttl) ~= "number" or ttl < 0 then
    error("ttl must be a number >= 0", 3)
  end
  return ttl
end

function Cache:_remember(key, value, ttl)
  local stored, err = self.shm:set(key, dump(value), ttl)
  if not stored then
    ngx.log(ngx.WARN, "the shared dictionary refused a value: ", err)
  end
  self.lru:set(key, value == nil and ABSENT or value, ttl > 0 and ttl or nil)
end

function Cache:_from_shm(key)
  local text = self.shm:get(key)
  if not text then
    return false
  end
  local value = load(text)
  local ttl = self.shm:ttl(key)
  self.lru:set(key, value == nil and ABSENT or value, ttl and ttl > 0 and ttl or nil)
  return true, value
end

function Cache:_lock(key)
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

function Cache:_ask(key, options, callback, ...)
  local ran, value, err, ttl = pcall(callback, ...)
  if not ran then
    return nil, "callback threw an error: " .. tostring(value)
  end
  if err then
    local stale = self.shm:get_stale(key)
    if stale and options.resurrect_ttl then
      local revived = load(stale)
      self:_remember(key, revived, options.resurrect_ttl)
      return revived, nil, 4
    end
    return nil, tostring(err)
  end
  local default = value == nil and given(options.neg_ttl, 0) or given(options.ttl, 0)
  self:_remember(key, value, max(given(ttl, default), 0))
  return value, nil, 3
end

-- Returns value, error, hit level. Both ttl and neg_ttl default to 0, which is for ever, as in Kong.
function Cache:get(key, options, callback, ...)
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  if type(callback) ~= "function" then
    error("callback must be a function", 2)
  end
  options = options or {}
  local value = self.lru:get(key)
  if value ~= nil then
    if value == ABSENT then
      return nil, nil, 1
    end
    return value, nil, 1
  end
  local found
  found, value = self:_from_shm(key)
  if found then
    return value, nil, 2
  end

  local locked, lock_err = self:_lock(key)
  if not locked then
    return nil, lock_err
  end
  found, value = self:_from_shm(key)
  if found then
    self.shm:delete("lock:" .. key)
    return value, nil, 2
  end
  local err, level
  value, err, level = self:_ask(key, options, callback, ...)
  self.shm:delete("lock:" .. key)
  return value, err, level
end

return function(dict)
  local shm = ngx.shared[dict]
  shm:flush_all() -- a reload, and every push of a configuration, empties Kong's cache
  return setmetatable({ shm = shm, lru = lrucache.new(LRU_ENTRIES) }, Cache)
end
