-- Law of this file: what the nginx configuration calls; it runs the plugin's own files in Kong's place.

local clear = require "table.clear"
local new_ctx = require("resty.core.ctx").get_ctx_table
local new_tab = require "table.new"
local pdk = require "pdk"
local schema_engine = require "schema_engine"

local CTX_MEMBERS = 8 -- no request's table grows
local PHASES = pdk.PHASES
local PLUGIN = "kong.plugins.credential-validator."

local _M = {}

local handler, routes

-- For init_by_lua: reads the routes and refuses what Kong would refuse.
function _M.init(setup)
  local schema = require(PLUGIN .. "schema")
  routes = setup.routes
  for _, route in ipairs(routes) do
    if route.config then
      local conf, errors = schema_engine.process(schema, route.config)
      if not conf then
        error("route " .. route.paths[1] .. ": " .. schema_engine.describe(errors), 0)
      end
      conf.__plugin_id = route.plugin_id
      route.config = conf
    end
  end
  _M.setup = setup
end

-- For init_worker_by_lua.
function _M.init_worker()
  kong = pdk.new(_M.setup.consumers, "kong_db_cache")
  handler = require(PLUGIN .. "handler")
  assert(type(handler.PRIORITY) == "number" and type(handler.VERSION) == "string", "no PRIORITY or no VERSION")
end

-- As in Kong, ngx.ctx is a table that another request has used before, emptied.
local spare, spares = {}, 0

local function fetch()
  if spares == 0 then
    return new_tab(0, CTX_MEMBERS)
  end
  local ctx = spare[spares]
  spare[spares], spares = nil, spares - 1
  return ctx
end

local function release(ctx)
  clear(ctx)
  spares = spares + 1
  spare[spares] = ctx
end

-- In the place of another authentication plugin that runs before.
local function authenticate_as(other)
  kong.client.authenticate(other.consumer, other.credential)
  for name, value in pairs(other.headers or {}) do
    kong.service.request.set_header(name, value)
  end
end

-- For access_by_lua of the route with that number.
function _M.access(number)
  local route, ctx = routes[number], new_ctx(fetch())
  ctx.KONG_PHASE, ctx.route, ctx.service = PHASES.access, route, route.service
  if route.authenticated then
    authenticate_as(route.authenticated)
  end
  if route.config then
    handler:access(route.config)
  end
  -- What rate-limiting and logging plugins would see; nginx has set both to "".
  local credential, consumer = ctx.authenticated_credential, ctx.authenticated_consumer
  if credential then
    ngx.var.gateway_credential = credential.id
  end
  if consumer then
    ngx.var.gateway_consumer = consumer.username
  end
end

-- For header_filter_by_lua, after which no Lua sees the request any more.
function _M.header_filter()
  local ctx = ngx.ctx
  local route = ctx.route
  if not route then
    return
  end
  if route.config and handler.header_filter then
    ctx.KONG_PHASE = PHASES.header_filter
    handler:header_filter(route.config)
  end
  release(ctx)
end

local function json_string(text)
  return '"' .. text:gsub('[%c"\\\127-\255]', function(char)
    return ("\\u%04x"):format(char:byte())
  end) .. '"'
end

-- The upstream that comes with the gateway: tells as JSON what it was sent, every header line by its own spelling.
-- Arguments of the query: `status`, and `set_cookie`, which may be repeated.
function _M.echo()
  local headers = {}
  local raw = ngx.req.raw_header(true)
  for name, value in raw:gmatch("([^\r\n:]+):[ \t]*([^\r\n]*)\r\n") do
    headers[#headers + 1] = "[" .. json_string(name) .. "," .. json_string(value) .. "]"
  end
  local arguments = ngx.req.get_uri_args()
  ngx.status = tonumber(arguments.status) or 200
  ngx.header["Set-Cookie"] = arguments.set_cookie
  ngx.header["Content-Type"] = "application/json"
  ngx.say('{"method":', json_string(ngx.req.get_method()), ',"uri":', json_string(ngx.var.request_uri),
    ',"credential":', json_string(ngx.var.http_gateway_credential or ""),
    ',"consumer":', json_string(ngx.var.http_gateway_consumer or ""),
    ',"headers":[', table.concat(headers, ","), "]}")
end

return _M
