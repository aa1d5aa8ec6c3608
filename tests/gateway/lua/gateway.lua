-- Law of this file: what the nginx configuration calls; it runs the plugin's own files, and its neighbours, in Kong's
-- place and in Kong's order.

local clear = require "table.clear"
local ffi_cast = require("ffi").cast
local get_request = require("resty.core.base").get_request
local neighbours = require "neighbours"
local new_cache = require "pdk_cache"
local new_ctx = require("resty.core.ctx").get_ctx_table
local new_tab = require "table.new"
local pdk = require "pdk"
local sandbox = require "sandbox"
local schema_engine = require "schema_engine"
local watching = require "watching"

local assert, error, ipairs, pcall, require = assert, error, ipairs, pcall, require
local tonumber, type = tonumber, type

local CTX_MEMBERS = 8 -- no request's table grows
local PHASES = pdk.PHASES
local PLUGIN = "kong.plugins.credential-validator."
local SERVER = 2 -- a span's kind

local _M = {}

local handler, routes, setup

local function load_part(name)
  if setup.sandboxed then
    return sandbox.run(setup.plugin_root .. "/kong/plugins/credential-validator/" .. name .. ".lua", name)
  end
  return require(PLUGIN .. name)
end

-- The configuration as the plugin will see it; throws where Kong would refuse it.
local function judged(schema, route)
  local conf, errors = schema_engine.process(schema, route.config, kong.version_num)
  if not conf then
    error("route " .. route.paths[1] .. ": " .. schema_engine.describe(errors), 0)
  end
  conf.__key__ = "plugins:credential-validator:" .. route.id .. "::::"
  if kong.version_num >= 3003000 then
    conf.__plugin_id = route.plugin_id
  end
  return conf
end

-- The plugins of a route, those of the highest priority first.
local function chain_of(route)
  local chain = {}
  for _, other in ipairs(route.plugins) do
    local neighbour = neighbours[other.name] or error("no neighbour imitates " .. other.name, 0)
    chain[#chain + 1] = { name = other.name, handler = neighbour, conf = other.config }
  end
  if route.config then
    chain[#chain + 1] = { name = "credential-validator", handler = handler, conf = route.config }
  end
  table.sort(chain, function(left, right)
    return left.handler.PRIORITY > right.handler.PRIORITY
  end)
  return chain
end

-- Kong's list of the plugins that a request meets after access: in 3.0 one for all phases, then one for each.
local function collected(chain)
  local list = { [0] = 2 * #chain }
  for at, member in ipairs(chain) do
    list[2 * at - 1], list[2 * at] = { name = member.name, handler = member.handler }, member.conf
  end
  if kong.version_num < 3001000 then
    return list
  end
  return { header_filter = list, body_filter = list, log = list }
end

local function traced()
  return ngx.ctx.route.sampled
end

local function is_traced()
  for _, route in ipairs(setup.routes) do
    if route.sampled ~= nil then
      return true
    end
  end
  return false
end

-- For init_by_lua: as there, schemas and handlers are loaded before there is a worker.
function _M.init(given)
  setup, routes = given, given.routes
  kong = pdk.new(setup.version, setup.consumers, is_traced() and traced)
  local schema = load_part "schema"
  for _, route in ipairs(routes) do
    route.config = route.config and judged(schema, route)
  end
  if setup.sandboxed then
    return -- its kong.cache is that of the worker
  end
  handler = load_part "handler"
end

-- For init_worker_by_lua.
function _M.init_worker()
  kong.cache = new_cache("kong_db_cache", kong.version_num)
  handler = handler or load_part "handler"
  assert(type(handler.PRIORITY) == "number" and type(handler.VERSION) == "string", "no PRIORITY or no VERSION")
  local confs = {}
  for _, route in ipairs(routes) do
    route.chain = chain_of(route)
    route.alone = #route.plugins == 0 and route.sampled == nil
    route.collected = not route.alone and collected(route.chain) or nil
    confs[#confs + 1] = route.config
  end
  watching.open(setup.directory)
  if handler.init_worker then
    handler:init_worker()
  end
  if handler.configure then
    handler:configure(confs[1] and confs)
  end
end

-- As in Kong, ngx.ctx is a table that another request has used before, emptied.
local spare, spares = {}, 0

-- By request, for an error page: nginx forgets ngx.ctx on its way there.
local underway = {}

local function request_key()
  return tonumber(ffi_cast("uintptr_t", get_request()))
end

local function fetch()
  if spares == 0 then
    return new_tab(0, CTX_MEMBERS)
  end
  local ctx = spare[spares]
  spare[spares], spares = nil, spares - 1
  return ctx
end

local function release(ctx)
  underway[request_key()] = nil
  clear(ctx)
  spares = spares + 1
  spare[spares] = ctx
end

-- A plugin that throws costs the client a 500, and the others their turn.
local function fail(ctx, err)
  kong.log.err(err)
  ctx.KONG_UNEXPECTED = true
  return kong.response.error(500)
end

local function span_of(member)
  local span = kong.tracing.start_span("kong.access.plugin." .. member.name)
  kong.tracing.set_active_span(span)
  return span
end

-- Returns an error that was thrown. Where a plugin answers, this does not return.
local function run_chain(route, ctx)
  if route.sampled ~= nil then
    kong.tracing.set_active_span(kong.tracing.start_span("kong", { span_kind = SERVER }))
  end
  for _, member in ipairs(route.chain) do
    local span = route.sampled ~= nil and span_of(member)
    ctx.running = member.handler
    local ran, err = pcall(member.handler.access, member.handler, member.conf)
    if span then
      span:finish()
    end
    if not ran then
      return err
    end
  end
end

-- As Kong does after its plugins: whatever the client's Connection names goes no further (RFC 9110 section 7.6.1).
local function clear_hop_by_hop()
  local connection = ngx.var.http_connection
  if not connection or connection == "keep-alive" or connection == "close" or connection == "upgrade" then
    return
  end
  for name in connection:gmatch("[^,%s]+") do
    if name:lower() ~= "upgrade" then
      ngx.req.clear_header(name)
    end
  end
end

-- For access_by_lua of the route with that number.
function _M.access(number)
  local route, ctx = routes[number], new_ctx(fetch())
  ctx.KONG_PHASE, ctx.route, ctx.service = PHASES.access, route, route.service
  ctx.plugins = route.collected
  underway[request_key()] = ctx
  if not route.alone then
    local err = run_chain(route, ctx)
    if err then
      return fail(ctx, err)
    end
  elseif route.config then
    local phase = handler[route.handshake and "ws_handshake" or "access"]
    local ran, err = true, nil
    if phase then
      ran, err = pcall(phase, handler, route.config)
    end
    if not ran then
      return fail(ctx, err)
    end
  end
  ctx.KONG_PROXIED = true
  clear_hop_by_hop()
  -- What rate-limiting and logging plugins would see; nginx has set both to "".
  local credential, consumer = ctx.authenticated_credential, ctx.authenticated_consumer
  if credential then
    ngx.var.gateway_credential = credential.id
  end
  if consumer then
    ngx.var.gateway_consumer = consumer.username
  end
end

local function run_phase(route, ctx, phase)
  ctx.KONG_PHASE = PHASES[phase]
  if route.alone then
    if route.config and handler[phase] then
      handler[phase](handler, route.config)
    end
    return
  end
  for _, member in ipairs(route.chain) do
    if member.handler[phase] then
      ctx.running = member.handler
      member.handler[phase](member.handler, member.conf)
    end
  end
end

-- For header_filter_by_lua, after which no Lua sees the request any more unless it is watched. An answer of nginx
-- itself to what is no request has no route: only a plugin that is there for all routes gets to see it.
function _M.header_filter()
  local ctx = ngx.ctx
  local route = ctx.route or setup.everywhere and routes[setup.everywhere]
  if not route then
    return
  end
  run_phase(route, ctx, "header_filter")
  if ctx.route and not route.watched then
    release(ctx)
  end
end

-- For body_filter_by_lua of a route that is watched.
function _M.body_filter()
  local ctx = ngx.ctx
  if ctx.route then
    run_phase(ctx.route, ctx, "body_filter")
  end
end

-- For log_by_lua of a route that is watched.
function _M.log()
  local ctx = ngx.ctx
  local route = ctx.route
  if not route or not route.watched then
    return
  end
  run_phase(route, ctx, "log")
  if route.log then
    watching.write_request()
  end
  if route.sampled ~= nil then
    watching.write_spans()
  end
  release(ctx)
end

-- For content_by_lua of the error page.
function _M.handle_error()
  local ctx = new_ctx(underway[request_key()] or fetch())
  ctx.KONG_PHASE, ctx.KONG_UNEXPECTED = PHASES.error, true
  return kong.response.unexpected()
end

-- For content_by_lua: Kong's database fails with the error that is given, or works again.
function _M.set_database()
  kong.db.broken = ngx.var.arg_error and ngx.unescape_uri(ngx.var.arg_error)
  ngx.say("ok")
end

return _M
