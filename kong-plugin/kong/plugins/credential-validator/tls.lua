-- Law of this file: an encrypted connection is to whom the configuration names, or it is none.

local memo = require "kong.plugins.credential-validator.memo"

local pcall, require = pcall, require

local MAX_CERTIFICATES = 64

-- A certificate and its key as the connection takes them, by the text of the certificate.
local parsed = memo.new(MAX_CERTIFICATES)

local _M = {}

local function parse(certificate, key)
  -- Also where a vault, which the schema does not see through, has nothing.
  if not certificate or not key or certificate == "" or key == "" then
    return nil, "tls_client_certificate and tls_client_key go together, and one of them is empty"
  end
  local found, ssl = pcall(require, "ngx.ssl")
  if not found then
    return nil, "client certificates need ngx.ssl, which a streamed plugin cannot have: install the plugin on the node"
  end
  local chain, chain_err = ssl.parse_pem_cert(certificate)
  if not chain then
    return nil, "tls_client_certificate is no PEM certificate: " .. chain_err
  end
  local private, key_err = ssl.parse_pem_priv_key(key)
  if not private then
    return nil, "tls_client_key is no PEM key: " .. key_err
  end
  return { chain = chain, key = private, key_text = key }
end

local function client_certificate(conf)
  local certificate, key = conf.tls_client_certificate, conf.tls_client_key
  local pair, err = certificate and memo.get(parsed, certificate), nil
  if not pair or pair.key_text ~= key then
    pair, err = parse(certificate, key)
    if pair then
      memo.put(parsed, certificate, pair)
    end
  end
  return pair, err
end

-- Encrypts a new connection; `name` is asked for and must stand in the certificate. Returns true, or nil and why.
function _M.handshake(sock, conf, name)
  if conf.tls_client_certificate or conf.tls_client_key then
    local pair, pair_err = client_certificate(conf)
    if not pair then
      return nil, pair_err
    end
    local set, set_err = sock:setclientcert(pair.chain, pair.key)
    if not set then
      return nil, "the client certificate was refused: " .. set_err
    end
  end
  local done, err = sock:sslhandshake(false, name, conf.tls_verify)
  if not done then
    return nil, err
  end
  return true
end

return _M
