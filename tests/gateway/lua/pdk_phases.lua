-- Law of this file: which function of the kit may be called when, by the bits that Kong keeps in ngx.ctx.KONG_PHASE.

local band, bor = require("bit").band, require("bit").bor
local concat, error, ipairs = table.concat, error, ipairs

local _M = {
  init_worker = 0x1, rewrite = 0x10, access = 0x20, balancer = 0x40, response = 0x80, header_filter = 0x200,
  body_filter = 0x400, log = 0x2000, error = 0x1000000, admin_api = 0x10000000,
}

local ORDER = {
  "init_worker", "rewrite", "access", "balancer", "response", "header_filter", "body_filter", "log", "error",
  "admin_api",
}

local NAMES = {}
for name, bit in pairs(_M) do
  NAMES[bit] = name
end

-- The same functions may be called in all of these.
_M.request = bor(_M.rewrite, _M.access, _M.balancer, _M.response, _M.header_filter, _M.body_filter, _M.log, _M.error,
  _M.admin_api)
_M.authenticated = bor(_M.access, _M.header_filter, _M.response, _M.body_filter, _M.log)
_M.routed = bor(_M.access, _M.balancer, _M.header_filter, _M.response, _M.body_filter, _M.log)
_M.before_upstream = bor(_M.rewrite, _M.access)
_M.before_body = bor(_M.rewrite, _M.access, _M.balancer, _M.response, _M.header_filter, _M.error, _M.admin_api)
_M.responded = bor(_M.response, _M.header_filter, _M.body_filter, _M.log, _M.error, _M.admin_api)

local function names(accepted)
  local found = {}
  for _, name in ipairs(ORDER) do
    if band(accepted, _M[name]) ~= 0 then
      found[#found + 1] = name
    end
  end
  return concat(found, ", ")
end

-- Throws, as from the function that called its caller, where the phase is none of the accepted ones.
function _M.check(accepted)
  local phase = ngx.ctx.KONG_PHASE
  if not phase then
    error("no phase in ngx.ctx.KONG_PHASE, (need one of " .. names(accepted) .. ")", 3)
  end
  if band(phase, accepted) == 0 then
    error("function cannot be called in " .. (NAMES[phase] or "'unknown phase'") .. " phase (only in: "
      .. names(accepted) .. ")", 3)
  end
end

return _M
