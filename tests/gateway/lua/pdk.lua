-- Law of this file: as much of Kong's plugin development kit (3.x) as an authentication plugin uses, put together. It
-- stands in for Kong where Kong cannot run; it is no Kong.

local client = require "pdk_client"
local new_log = require "pdk_log"
local new_response = require "pdk_response"
local phases = require "pdk_phases"
local requests = require "pdk_request"
local tracing = require "pdk_tracing"

local check_phase = phases.check
local setmetatable = setmetatable

-- Keys of ngx.ctx that no name can collide with.
local SHARED, CORE, ALONE = {}, {}, {}

-- kong.ctx.shared is one table for a request; kong.ctx.plugin one for a request and a plugin.
local function ctx()
  return setmetatable({}, {
    __index = function(_, name)
      local request_ctx = ngx.ctx
      local key
      if name == "shared" then
        key = SHARED
      elseif name == "core" then
        key = CORE
      elseif name == "plugin" then
        key = request_ctx.running or ALONE
      else
        return nil
      end
      local found = request_ctx[key]
      if not found then
        found = {}
        request_ctx[key] = found
      end
      return found
    end,
  })
end

local function router()
  return {
    get_service = function()
      check_phase(phases.routed)
      return ngx.ctx.service
    end,
    get_route = function()
      check_phase(phases.routed)
      return ngx.ctx.route
    end,
  }
end

-- 3.9.1 as 3009001, and 3.10.0 as 30010000: Kong's own rule, which keeps the order and no width.
local function number_of(version)
  local major, minor, patch = version:match("^(%d+)%.(%d+)%.(%d+)$")
  return tonumber(("%d%.2d%.2d"):format(major * 100, minor * 10, patch))
end

local _M = { PHASES = phases }

-- The global `kong` as it is while schemas and handlers are loaded; what needs a worker comes later. `traced` tells of
-- the request at hand whether it is sampled, or nil where no tracing is set up.
function _M.new(version, consumers, traced)
  local version_num = number_of(version)
  return {
    version = version,
    version_num = version_num,
    request = requests.request(),
    service = { request = requests.service_request(version_num) },
    response = new_response(version_num),
    client = client.client(),
    router = router(),
    ctx = ctx(),
    log = new_log(version_num),
    db = client.database(consumers),
    tracing = traced and tracing.tracer(version_num, traced) or tracing.NOOP,
    configuration = { role = "data_plane", database = "off" },
  }
end

return _M
