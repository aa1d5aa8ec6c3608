-- Law of this file: it names the phases and does nothing else.

local access = require "kong.plugins.credential-validator.access"

-- After Kong's own authenticators that need no call (key-auth 1250, basic-auth 1100), so that with `anonymous`
-- a request they have passed costs none; before what rests on a known caller (acl 950, rate-limiting 910).
local CredentialValidator = { VERSION = "0.1.0", PRIORITY = 1040 }

function CredentialValidator:access(conf) -- luacheck: ignore 212/self (Kong calls it as a method)
  return access.execute(conf)
end

function CredentialValidator:header_filter() -- luacheck: ignore 212/self (same)
  return access.pass_session_on()
end

return CredentialValidator
