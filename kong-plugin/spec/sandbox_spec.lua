-- Promise: every module runs where Kong gives a streamed plugin no more than its sandbox does.

local gateways = require "spec.gateway"
local lfs = require "lfs"

local FOLDER = "kong/plugins/credential-validator/"
local PREFIX = "kong.plugins.credential-validator."

-- What there is in the sandbox for schemas and, with Kong and nginx below, in the one for handlers.
local LUA = [[
  _VERSION assert error ipairs next pairs pcall print select tonumber tostring type unpack xpcall
  bit.arshift bit.band bit.bnot bit.bor bit.bswap bit.bxor bit.lshift bit.rol bit.ror bit.rshift bit.tobit bit.tohex
  coroutine.create coroutine.resume coroutine.running coroutine.status coroutine.wrap coroutine.yield
  io.type jit.os jit.arch jit.version jit.version_num
  math.abs math.acos math.asin math.atan math.atan2 math.ceil math.cos math.cosh math.deg math.exp math.floor math.fmod
  math.frexp math.huge math.ldexp math.log math.log10 math.max math.min math.modf math.pi math.pow math.rad math.random
  math.sin math.sinh math.sqrt math.tan math.tanh
  os.clock os.date os.difftime os.time
  string.byte string.char string.find string.format string.gmatch string.gsub string.len string.lower string.match
  string.rep string.reverse string.sub string.upper
  table.clear table.clone table.concat table.foreach table.foreachi table.getn table.insert table.isarray table.isempty
  table.maxn table.move table.new table.nkeys table.pack table.remove table.sort table.unpack
]]
-- Of what there is of Kong and nginx, as much as the modules need: more of it would be looked up in Kong first.
local KONG = [[
  kong.cache.get
  kong.client.authenticate kong.client.get_credential kong.client.load_consumer
  kong.db.consumers.cache_key kong.db.consumers.select_by_custom_id kong.db.consumers.select_by_username
  kong.log.err kong.log.notice kong.log.set_serialize_value kong.log.warn
  kong.request.get_headers kong.request.get_http_version kong.request.get_method
  kong.response.add_header kong.response.exit kong.response.get_header kong.response.get_headers
  kong.response.get_source kong.response.set_header
  kong.router.get_service
  kong.service.request.clear_header kong.service.request.set_header
  kong.tracing.start_span
  kong.version_num
  ngx.crc32_long ngx.now ngx.null ngx.re.find ngx.req.get_headers ngx.socket.tcp
]]
local MODULES = { ["resty.sha256"] = true, ["kong.constants"] = true } -- of those that may be required

local ALLOWED = "HTTP/1.1 200 OK\r\nX-Application-Id: app-1\r\nX-Application-Name: Orders\r\n"
  .. "X-Credential-Identifier: client-1\r\nX-Auth-Method: bearer\r\nX-Application-Groups: gold\r\n"
  .. "Cache-Control: max-age=30\r\nSet-Cookie: s=1\r\nContent-Length: 0\r\n\r\n"

local function names_of_modules()
  local found = {}
  for file in lfs.dir(FOLDER) do
    found[#found + 1] = file:match("^(.+)%.lua$")
  end
  table.sort(found)
  return found
end

local function forbid_changes(table_of, path)
  for name, value in pairs(table_of) do
    if type(value) == "table" then
      forbid_changes(value, path .. "." .. name)
    end
  end
  return setmetatable(table_of, { __newindex = function(_, name)
    error("the sandbox forbids to change " .. path .. "." .. tostring(name), 2)
  end })
end

-- The globals of that list, in tables that hold nothing else.
local function globals_in(list)
  local env = {}
  for path in list:gmatch("%S+") do
    local from, to = _G, env
    for parent, dot in path:gmatch("([^.]+)(%.?)") do
      from = type(from) == "table" and from[parent] or nil
      if dot == "" then
        to[parent] = from
      else
        to[parent] = to[parent] or {}
        to = to[parent]
      end
    end
  end
  for name, value in pairs(env) do
    if type(value) == "table" then
      forbid_changes(value, name)
    end
  end
  return env
end

describe("in Kong's sandbox", function()
  local gateway, env, loaded, socket

  local function load_module(name)
    local chunk = assert(loadfile(FOLDER .. name .. ".lua"))
    return setfenv(chunk, env)()
  end

  before_each(function()
    gateway = gateways.start()
    gateway.service = { name = "orders" }
    socket = { sent = "" }
    function socket.settimeouts() end
    function socket.settimeout() end
    function socket.connect()
      return true
    end
    function socket.getreusedtimes()
      return 0
    end
    function socket:send(bytes)
      self.sent = self.sent .. bytes
      return #bytes
    end
    function socket.receiveany()
      return ALLOWED
    end
    function socket.setkeepalive()
      return true
    end
    _G.ngx.socket.tcp = function()
      return socket
    end
    _G.kong.version_num = 3015000
    _G.kong.tracing = { start_span = function()
      return {
        trace_id = ("t"):rep(16), span_id = ("s"):rep(8), should_sample = true, set_attribute = function() end,
        set_status = function() end,
        finish = function()
          gateway.traced = true
        end,
      }
    end }

    loaded = {}
    env = globals_in(LUA .. KONG)
    rawset(env.ngx, "ctx", _G.ngx.ctx)
    rawset(env.kong, "ctx", { shared = gateway.shared })
    env._G = env
    env.require = function(name)
      if name:sub(1, #PREFIX) ~= PREFIX then
        assert(MODULES[name], "the sandbox has no module " .. name)
        return name == "resty.sha256" and gateway.sha256 or {}
      end
      local short = name:sub(#PREFIX + 1)
      loaded[short] = loaded[short] or load_module(short)
      return loaded[short]
    end
  end)

  after_each(gateways.stop)

  local CONF = {
    __plugin_id = "p1", validator_url = "http://127.0.0.1:8100", fallback_validator_urls = { "unix:/b" },
    strategy = "azure", timeout_ms = 3000, hide_credentials = true, session_cookie_name = "s",
    decision_cache_ttl_s = 60, consumer_by = "username", consumer_optional = true, run_on_preflight = true,
    keepalive_idle_ms = 1, keepalive_pool_size = 1,
  }
  local RECEIVED = { authorization = "Bearer secret", cookie = "a=1; s=2", ["x_application_id"] = "evil" }

  -- The main function of each, by the module's name.
  local CALLS = {
    access = function(module)
      module.execute(CONF)
      assert.equal("app-1", gateway.upstream["x-application-id"])
    end,
    consumers = function(module)
      gateway.consumers["app-1"] = { id = "id-1" }
      local identity = { ["X-Application-Id"] = "app-1" }
      assert.equal("id-1", module.of_application(CONF, identity).id)
      assert.equal("id-1", module.of_application({ consumer_by = "custom_id" }, identity).id)
      assert.equal("id-1", module.anonymous("app-1").id)
    end,
    cookies = function(module)
      assert.equal("s=2", module.pick(RECEIVED.cookie, "s"))
    end,
    decisions = function(module)
      local settings = env.require(PREFIX .. "settings").of(CONF)
      local question = { path = "/", authorization = "Bearer t", received = RECEIVED }
      assert.equal(200, module.get(CONF, settings, question).status)
      question.asked = nil
      assert.equal(200, module.get(CONF, settings, question).status)
      assert.is_true(question.cached)
    end,
    denial = function(module)
      module.unavailable(RECEIVED)
      assert.equal(503, gateway.answer.status)
      module.pass_on({ realm = "r" }, RECEIVED, { status = 401, challenge = "Bearer x=y" })
      assert.equal(401, gateway.answer.status)
    end,
    exchange = function(module)
      local target = { host = "h", port = 1, pool = "p" }
      assert.equal(200, module.ask(CONF, target, "GET", gateway.time + 1).status)
    end,
    facts = function(module)
      module.tell({ strategy = "azure" }, { service = "orders" }, "denied", 401, { status = 401, body = "" })
      assert.equal("denied", gateway.shared.credential_validator.outcome)
    end,
    handler = function(module)
      module:access(CONF)
      assert.equal("app-1", gateway.upstream["x-application-id"])
      assert.same({ "gold" }, gateway.shared.authenticated_groups)
      assert.is_true(gateway.traced)
      module:header_filter()
      assert.same({ "s=1" }, gateway.response["set-cookie"])
    end,
    health = function(module)
      assert.is_false(module.rests(module.new(), 0))
    end,
    identity = function(module)
      module.clear(module.names(), RECEIVED, 100)
      assert.is_nil(gateway.upstream["x_application_id"])
    end,
    lines = function(module)
      assert.equal("b", module.header("a: b").value)
      assert.equal(200, module.status("HTTP/1.1 200 OK"))
      assert.equal(3, module.max_age("max-age=3"))
    end,
    memo = function(module)
      local memo = module.new(2)
      module.put(memo, "a", 1)
      assert.equal(1, module.get(memo, "a"))
    end,
    received = function(module)
      assert.equal("Bearer secret", module(RECEIVED, "authorization"))
      assert.is_nil(module(RECEIVED, "x-missing"))
    end,
    reply = function(module)
      local reply = module.parse(ALLOWED)
      assert.equal(200, module.parse_rendered(module.render(reply)).status)
    end,
    request = function(module)
      local question = module.question(CONF, "orders", RECEIVED, false)
      assert.equal("Bearer secret", question.authorization)
      assert.equal("s=2", question.cookie)
      module.hide_credentials(CONF, RECEIVED)
      assert.equal("a=1", gateway.upstream.cookie)
    end,
    schema = function(module)
      assert.equal("credential-validator", module.name)
    end,
    session = function(module)
      module.hold({ set_cookies = { "s=1" } })
      module.pass_on()
      assert.same({ "s=1" }, gateway.response["set-cookie"])
    end,
    settings = function(module)
      assert.matches("^p1:", module.of(CONF).scope)
    end,
    sidecar = function(module)
      local settings = env.require(PREFIX .. "settings").of(CONF)
      assert.equal(200, module.ask(CONF, settings.targets, { path = "/" }).status)
    end,
    target = function(module)
      assert.equal(1, module.parse("http://x:1").port)
    end,
    tls = function(module)
      function socket.sslhandshake()
        return true
      end
      assert.is_true(module.handshake(socket, { tls_verify = true }, "x"))
      local done, err = module.handshake(socket, { tls_client_certificate = "C", tls_client_key = "K" }, "x")
      assert.is_nil(done)
      assert.matches("install the plugin on the node", err)
    end,
    tracing = function(module)
      local span, traceparent = module.begin({})
      assert.equal("00-" .. ("74"):rep(16) .. "-" .. ("73"):rep(8) .. "-01", traceparent)
      module.finish(span, nil, "timeout")
    end,
  }

  for _, name in ipairs(names_of_modules()) do
    it(name .. " does its work", function()
      gateways.receive(gateway, RECEIVED)
      assert(CALLS[name], "say here what to call of " .. name)(env.require(PREFIX .. name))
    end)

    it(name .. " names nothing of Kong and nginx that is not there", function()
      for line in io.lines(FOLDER .. name .. ".lua") do
        local code = line:gsub("%-%-.*$", ""):gsub('"kong%.plugins%.[^"]*"', ""):gsub('"[^"]*"', "")
        for library, path in code:gmatch("%f[%w_.](%l+)(%.[%w_.]+)") do
          local found = (library == "kong" or library == "ngx") and env[library] or nil
          if found then
            for step in path:gmatch("[^.]+") do
              found = found[step]
              if path == ".ctx.plugins" or path == ".ctx.shared.proxy_cache_hit" then
                found = found or {} -- of others, and may be missing
              end
            end
            assert.is_not_nil(found, library .. path)
          end
        end
        for _, missing in ipairs {
          "setmetatable", "getmetatable", "rawset", "rawequal", "setfenv", "getfenv", "loadstring", "dofile", "debug",
          "package", "ffi", "io%.", "os%.get", "string%.dump",
        } do
          assert.is_nil(code:find("%f[%w_]" .. missing .. "%f[^%w_.]"), code)
        end
      end
    end)
  end

  it("the schema needs neither Kong nor nginx", function()
    env = globals_in(LUA)
    env.require = function(name)
      error("the schema requires " .. name)
    end
    assert.equal("credential-validator", load_module("schema").name)
  end)

  it("a module that changes what it is given fails this test", function()
    assert.has_error(function()
      env.string.evil = true
    end)
    assert.has_error(function()
      env.require "ngx.ssl"
    end)
    assert.is_nil(env.rawget)
    assert.is_nil(env.kong.tracing.active_span)
  end)
end)
