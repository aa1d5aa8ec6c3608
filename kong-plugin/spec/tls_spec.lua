-- Promise: a connection is encrypted to whom the configuration names, with the certificate it holds now, or it is none.

local fresh = require "spec.fresh"

describe("a handshake", function()
  local tls, parsed, refused, sock, done

  before_each(function()
    parsed, refused, done = {}, {}, true
    tls = fresh "tls"
    package.loaded["ngx.ssl"] = {
      parse_pem_cert = function(text)
        parsed[#parsed + 1] = text
        return not refused.certificate and "parsed " .. text or nil, refused.certificate
      end,
      parse_pem_priv_key = function(text)
        parsed[#parsed + 1] = text
        return not refused.key and "parsed " .. text or nil, refused.key
      end,
    }
    sock = {}
    function sock:setclientcert(chain, key)
      self.shown = { chain, key }
      return not refused.shown or nil, refused.shown
    end
    function sock:sslhandshake(...)
      self.shaken = { ... }
      return done, not done and "certificate host mismatch" or nil
    end
  end)

  after_each(function()
    package.loaded["ngx.ssl"] = nil
  end)

  it("asks for the name and verifies as the configuration says, without an old session", function()
    for _, verify in ipairs { true, false } do
      assert.is_true(tls.handshake(sock, { tls_verify = verify }, "validator.example"))
      assert.same({ false, "validator.example", verify }, sock.shaken)
    end
    assert.is_nil(sock.shown)
  end)

  it("that fails is none", function()
    done = false
    local encrypted, err = tls.handshake(sock, { tls_verify = true }, "validator.example")
    assert.is_nil(encrypted)
    assert.equal("certificate host mismatch", err)
  end)

  it("shows the client's certificate, parsed once", function()
    local conf = { tls_verify = true, tls_client_certificate = "C1", tls_client_key = "K1" }
    for _ = 1, 3 do
      assert.is_true(tls.handshake(sock, conf, "x"))
      assert.same({ "parsed C1", "parsed K1" }, sock.shown)
    end
    assert.same({ "C1", "K1" }, parsed)
  end)

  it("shows the certificate and the key that are configured now", function()
    for _, pair in ipairs { { "C1", "K1" }, { "C2", "K2" }, { "C1", "K3" }, { "C2", "K2" }, { "C1", "K3" } } do
      tls.handshake(sock, { tls_client_certificate = pair[1], tls_client_key = pair[2] }, "x")
      assert.same({ "parsed " .. pair[1], "parsed " .. pair[2] }, sock.shown)
    end
  end)

  for name, case in pairs {
    ["a certificate that is none"] = { "certificate", "tls_client_certificate is no PEM certificate: it is bent" },
    ["a key that is none"] = { "key", "tls_client_key is no PEM key: it is bent" },
    ["a pair that does not fit"] = { "shown", "the client certificate was refused: it is bent" },
  } do
    it("is never begun with " .. name, function()
      refused[case[1]] = "it is bent"
      for _ = 1, 2 do
        local encrypted, err = tls.handshake(sock, { tls_client_certificate = "C1", tls_client_key = "KEY" }, "x")
        assert.is_nil(encrypted)
        assert.equal(case[2], err)
      end
      assert.is_nil(sock.shaken)
    end)
  end

  for name, given in pairs {
    ["a certificate alone"] = { tls_client_certificate = "C1" },
    ["a key alone"] = { tls_client_key = "K1" },
    ["a certificate that the vault does not have"] = { tls_client_certificate = "", tls_client_key = "K1" },
    ["a key that the vault does not have"] = { tls_client_certificate = "C1", tls_client_key = "" },
  } do
    it("is never begun with " .. name, function()
      local encrypted, err = tls.handshake(sock, given, "x")
      assert.is_nil(encrypted)
      assert.matches("one of them is empty", err)
      assert.is_nil(sock.shaken)
    end)
  end

  it("goes well again once the certificate does", function()
    local conf = { tls_client_certificate = "C1", tls_client_key = "K1" }
    refused.key = "it is bent"
    assert.is_nil((tls.handshake(sock, conf, "x")))
    refused.key = nil
    assert.is_true(tls.handshake(sock, conf, "x"))
  end)

  it("is never begun without the certificate where ngx.ssl cannot be had", function()
    package.loaded["ngx.ssl"] = nil
    local encrypted, err = tls.handshake(sock, { tls_client_certificate = "C1", tls_client_key = "K1" }, "x")
    assert.is_nil(encrypted)
    assert.matches("install the plugin on the node", err)
    assert.is_nil(sock.shaken)
  end)
end)
