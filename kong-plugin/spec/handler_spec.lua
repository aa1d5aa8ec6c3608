-- Promise: Kong finds the phases that it calls, and a rock has every module that they need.

local fresh = require "spec.fresh"
local gateways = require "spec.gateway"
local lfs = require "lfs"

local FOLDER = "kong/plugins/credential-validator/"

local function rockspec()
  for file in lfs.dir(".") do
    if file:match("%.rockspec$") then
      local spec = {}
      setfenv(assert(loadfile(file)), spec)()
      return spec, file
    end
  end
  return error("there is no rockspec")
end

describe("the handler", function()
  local handler, calls

  before_each(function()
    gateways.start()
    calls = {}
    handler = fresh("handler", {
      access = { execute = function(conf)
        calls[#calls + 1] = conf
        return "answered"
      end },
      session = { pass_on = function()
        calls[#calls + 1] = "passed on"
      end },
    })
  end)

  after_each(gateways.stop)

  it("has a version and stands between Kong's authenticators", function()
    assert.matches("^%d+%.%d+%.%d+$", handler.VERSION)
    assert.equal(1040, handler.PRIORITY)
    local spec, file = rockspec()
    assert.equal(handler.VERSION, spec.version:match("^(.+)%-%d+$"))
    assert.equal(spec.package .. "-" .. spec.version .. ".rockspec", file)
  end)

  it("judges what comes by HTTP and what begins a WebSocket alike", function()
    local conf = {}
    assert.equal("answered", handler:access(conf))
    assert.equal("answered", handler:ws_handshake(conf))
    assert.same({ conf, conf }, calls)
  end)

  it("passes the session on with the response", function()
    handler:header_filter()
    assert.same({ "passed on" }, calls)
  end)

  it("has no phase but these, so that it can be streamed", function()
    local phases = {}
    for name, value in pairs(handler) do
      phases[name] = type(value) == "function" or nil
    end
    assert.same({ access = true, ws_handshake = true, header_filter = true }, phases)
  end)
end)

describe("the rock", function()
  it("has every module, and none that is not there", function()
    local expected = {}
    for file in lfs.dir(FOLDER) do
      local name = file:match("^(.+)%.lua$")
      if name then
        expected["kong.plugins.credential-validator." .. name] = FOLDER .. file
      end
    end
    assert.same(expected, rockspec().build.modules)
  end)
end)
