-- Law of this file: the part of lua-resty-string that the plugin uses, which Kong bundles and Debian does not.

local ffi = require "ffi"

ffi.cdef [[
typedef struct {
  unsigned int h[8], Nl, Nh, data[16], num, md_len;
} gateway_SHA256_CTX;
int SHA256_Init(gateway_SHA256_CTX *c);
int SHA256_Update(gateway_SHA256_CTX *c, const void *data, size_t len);
int SHA256_Final(unsigned char *md, gateway_SHA256_CTX *c);
]]

local DIGEST_BYTES = 32

local Digest = {}
Digest.__index = Digest

function Digest.new()
  local context = ffi.new("gateway_SHA256_CTX")
  if ffi.C.SHA256_Init(context) ~= 1 then
    return nil
  end
  return setmetatable({ context = context }, Digest)
end

function Digest:update(text)
  return ffi.C.SHA256_Update(self.context, text, #text) == 1
end

function Digest:final()
  local out = ffi.new("unsigned char[?]", DIGEST_BYTES)
  return ffi.C.SHA256_Final(out, self.context) == 1 and ffi.string(out, DIGEST_BYTES) or nil
end

return Digest
