-- Law of this file: as much of Kong and nginx as the plugin's modules touch, written down instead of done. Its time
-- stands still until somebody moves it.

local CONTROL_BUT_TAB = "[%z\1-\8\10-\31\127]"

local function text_of(...)
  local words = { ... }
  for at = 1, select("#", ...) do
    words[at] = tostring(words[at])
  end
  return table.concat(words)
end

local function nginx(gateway)
  return {
    crc32_long = function(text) -- any number that differs where the text does
      local sum = 0
      for at = 1, #text do
        sum = (sum * 31 + text:byte(at)) % 4294967296
      end
      return sum
    end,
    ctx = {},
    null = {},
    now = function()
      return gateway.time
    end,
    re = { find = function(value, pattern, options)
      assert(pattern == "[\\x00-\\x08\\x0a-\\x1f\\x7f]" and options == "jo", "not the expression that is stood in for")
      return value:find(CONTROL_BUT_TAB)
    end },
    req = { get_headers = function(limit)
      gateway.limit = limit
      return gateway.all_received or gateway.received
    end },
    socket = { tcp = function()
      return nil, "no sockets here"
    end },
  }
end

local function logger(gateway, level)
  return function(...)
    gateway.log[#gateway.log + 1] = level .. ": " .. text_of(...)
  end
end

local function kong_log(gateway)
  return {
    err = logger(gateway, "err"), warn = logger(gateway, "warn"), notice = logger(gateway, "notice"),
    set_serialize_value = function(name, value, options)
      gateway.serialized[name] = value
      gateway.modes[name] = options and options.mode
    end,
  }
end

local function kong_client(gateway)
  return {
    authenticate = function(consumer, credential)
      assert(consumer or credential, "Kong throws where both are missing")
      gateway.authenticated = { consumer = consumer, credential = credential }
    end,
    get_credential = function()
      return gateway.credential
    end,
    load_consumer = function(name, by_username)
      assert(by_username)
      return gateway.consumers[name]
    end,
  }
end

local function kong_request(gateway)
  return {
    get_headers = function()
      return gateway.received
    end,
    get_http_version = function()
      return gateway.http_version
    end,
    get_method = function()
      return gateway.method
    end,
  }
end

local function kong_service(gateway)
  return { request = {
    clear_header = function(name)
      gateway.cleared[name], gateway.upstream[name:lower()] = true, nil
    end,
    set_header = function(name, value)
      gateway.set[name], gateway.upstream[name:lower()] = value, value
    end,
  } }
end

local function kong_response(gateway)
  return {
    exit = function(status, body, headers)
      gateway.answer = { status = status, body = body, headers = headers }
      return "the request has ended"
    end,
    get_headers = function()
      return gateway.response
    end,
    get_source = function()
      return gateway.source
    end,
    get_header = function(name)
      local value = gateway.response[name]
      return type(value) == "table" and value[1] or value
    end,
    set_header = function(name, value)
      gateway.response[name:lower()] = value
    end,
    add_header = function(name, value)
      local before = gateway.response[name:lower()]
      local all = type(before) == "table" and before or { before }
      all[#all + 1] = value
      gateway.response[name:lower()] = all
    end,
  }
end

-- Remembers for ever, as it has no time of its own.
local function kong_cache(gateway)
  return { get = function(_, key, options, callback, ...)
    assert(options.ttl and options.neg_ttl, "Kong's own default is for ever")
    gateway.cached[key] = gateway.cached[key] or { callback(...) }
    return gateway.cached[key][1], gateway.cached[key][2], 1
  end }
end

local function kong_consumers(gateway)
  local function select(_, value)
    return gateway.consumers[value]
  end
  return {
    cache_key = function(_, key)
      return "consumers:" .. key
    end,
    select_by_custom_id = select,
    select_by_username = select,
  }
end

-- A digest that differs for whatever differs and shows nothing of it.
local function sha256()
  return { new = function()
    local hashed = ""
    return {
      reset = function()
        hashed = ""
        return true
      end,
      update = function(_, bytes)
        hashed = hashed .. bytes
        return true
      end,
      final = function()
        return (hashed:gsub(".", function(char)
          return ("%02x"):format(char:byte())
        end))
      end,
    }
  end }
end

local _M = {}

-- What was received, is sent upstream, is answered, cached, logged and shared: tables that a spec fills and looks at.
-- Header names are in lower case, but in `cleared` and `set`, which hold them as they were written.
function _M.start()
  local gateway = {
    time = 1000, method = "GET", http_version = 1.1, received = {}, upstream = {}, cleared = {}, set = {},
    response = {}, cached = {}, consumers = {}, log = {}, serialized = {}, modes = {}, shared = {},
    source = "service", sha256 = sha256(),
  }
  _G.ngx = nginx(gateway)
  _G.kong = {
    cache = kong_cache(gateway), client = kong_client(gateway), ctx = { shared = gateway.shared },
    db = { consumers = kong_consumers(gateway) }, log = kong_log(gateway), request = kong_request(gateway),
    response = kong_response(gateway), service = kong_service(gateway),
    router = { get_service = function()
      return gateway.service
    end },
  }
  return gateway
end

function _M.stop()
  _G.kong, _G.ngx = nil, nil
end

-- The request, whose headers go upstream as they are until the plugin changes them.
function _M.receive(gateway, headers)
  gateway.received, gateway.upstream = headers, {}
  for name, value in pairs(headers) do
    gateway.upstream[name] = value
  end
end

return _M
