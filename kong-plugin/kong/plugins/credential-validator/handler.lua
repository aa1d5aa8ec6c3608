-- Law of this file: it names the phases and does nothing else.

local execute = require("kong.plugins.credential-validator.access").execute
local pass_session_on = require("kong.plugins.credential-validator.session").pass_on

-- After Kong's own authenticators that need no call (key-auth 1250, basic-auth 1100), so that with `anonymous`
-- a request they have passed costs none; before what rests on a known caller (acl 950, rate-limiting 910).
local CredentialValidator = { VERSION = "0.1.0", PRIORITY = 1040 }

function CredentialValidator:access(conf) -- luacheck: ignore 212/self (Kong calls it as a method)
  return execute(conf)
end

-- What Kong Enterprise calls in the place of access on services of the protocols ws and wss.
CredentialValidator.ws_handshake = CredentialValidator.access

function CredentialValidator:header_filter() -- luacheck: ignore 212/self (as above)
  return pass_session_on()
end

return CredentialValidator
