-- Law of this file: the part of lua-resty-string that the plugin uses, which Kong bundles and Debian does not. As
-- there, every digest comes out through one buffer, and an object can be used again.

local ffi = require "ffi"

ffi.cdef [[
typedef struct {
  unsigned int h[8], Nl, Nh, data[16], num, md_len;
} gateway_SHA256_CTX;
int SHA256_Init(gateway_SHA256_CTX *c);
int SHA256_Update(gateway_SHA256_CTX *c, const void *data, size_t len);
int SHA256_Final(unsigned char *md, gateway_SHA256_CTX *c);
]]

local C, new, string_of = ffi.C, ffi.new, ffi.string
local setmetatable = setmetatable

local DIGEST_BYTES = 32

local out = new("unsigned char[?]", DIGEST_BYTES)
local context_type = ffi.typeof("gateway_SHA256_CTX[1]")

local Digest = {}
Digest.__index = Digest

function Digest.new()
  local context = new(context_type)
  if C.SHA256_Init(context) == 0 then
    return nil
  end
  return setmetatable({ context = context }, Digest)
end

function Digest:update(text)
  return C.SHA256_Update(self.context, text, #text) == 1
end

function Digest:final()
  return C.SHA256_Final(out, self.context) == 1 and string_of(out, DIGEST_BYTES) or nil
end

function Digest:reset()
  return C.SHA256_Init(self.context) == 1
end

return Digest
