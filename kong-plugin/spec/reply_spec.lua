-- Promise: only a whole, well-formed reply is a reply; a part of one is never taken for more or for less.

local fresh = require "spec.fresh"
local real_memo = require "kong.plugins.credential-validator.memo"
local replies = require "kong.plugins.credential-validator.reply"

local IDENTITY = "X-Application-Id: app-1\r\nX-Application-Name: Orders\r\nX-Credential-Identifier: orders-mobile\r\n"
  .. "X-Auth-Method: session\r\n"
local ALLOWED = "HTTP/1.1 200 OK\r\n" .. IDENTITY .. "Cache-Control: private, max-age=30\r\n"
  .. "Set-Cookie: __Host-session=a; Secure\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
local DENIED = 'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\nWWW-Authenticate: Basic realm="x"  \r\n'
  .. "Content-Type: application/problem+json\r\nretry-after: 7\r\nContent-Length: 4\r\n\r\nbody"

-- All that a 200 may say.
local MINTED = "HTTP/1.1 200 OK\r\n" .. IDENTITY:gsub("session", "client_credentials")
  .. "X-Application-Groups: gold, internal\r\nX-Claim-Tenant: acme\r\nX-Access-Token: minted.token\r\n"
  .. "X-Session-Id: s-1\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"

local function with(head_line)
  return (ALLOWED:gsub("Content%-Length: 2", function(length)
    return head_line .. "\r\n" .. length
  end))
end

describe("a well-formed reply", function()
  it("that allows has its identity, its cookies and its age", function()
    local reply = assert(replies.parse(ALLOWED))
    assert.equal(200, reply.status)
    assert.same({
      ["X-Application-Id"] = "app-1", ["X-Application-Name"] = "Orders",
      ["X-Credential-Identifier"] = "orders-mobile", ["X-Auth-Method"] = "session",
    }, reply.identity)
    assert.same({ "__Host-session=a; Secure", "b=2" }, reply.set_cookies)
    assert.equal(30, reply.max_age)
    assert.is_true(reply.keep_alive)
    assert.equal("ok", reply.body)
  end)

  it("that refuses has one line of challenges", function()
    local reply = assert(replies.parse(DENIED))
    assert.equal(401, reply.status)
    assert.equal('Bearer, Basic realm="x"', reply.challenge)
    assert.equal("7", reply.retry_after)
    assert.equal("body", reply.body)
    assert.is_nil(reply.identity)
    assert.is_nil(reply.set_cookies)
    assert.equal(0, reply.max_age)
  end)

  it("may name an application in UTF-8, or not at all", function()
    assert.equal("Bücher", replies.parse((ALLOWED:gsub("Orders", "Bücher"))).identity["X-Application-Name"])
    assert.equal("", replies.parse((ALLOWED:gsub(" Orders", ""))).identity["X-Application-Name"])
  end)

  it("says when its connection ends", function()
    assert.is_false(replies.parse(with("Connection: Close")).keep_alive)
  end)

  it("has what the application may be told besides", function()
    local reply = assert(replies.parse(MINTED))
    assert.equal("gold, internal", reply.groups)
    assert.equal("minted.token", reply.access_token)
    assert.equal("s-1", reply.session_id)
    assert.same({ ["x-claim-tenant"] = "acme" }, reply.others)
    assert.equal(0, reply.max_age)
  end)

  it("has none of that where it does not allow", function()
    local reply = assert(replies.parse((MINTED:gsub("200 OK", "403 Forbidden"))))
    for _, name in ipairs { "identity", "others", "groups", "access_token", "session_id" } do
      assert.is_nil(reply[name])
    end
  end)

  it("has a header of the strategy's once and fit, or nobody is told its value", function()
    for _, lines in ipairs {
      "X-Claim: a\r\nx-claim: a", "X-Claim: a\r\nX-Claim: b\r\nX-Claim: c", "X-Claim: a\tb",
      "X-Claim: " .. ("a"):rep(1025), "X-Claim: a\r\nX-Claim: " .. ("a"):rep(1025),
      "X-Claim: " .. ("a"):rep(1025) .. "\r\nX-Claim: a",
    } do
      assert.is_false(replies.parse(with(lines)).others["x-claim"])
    end
    assert.equal("a", replies.parse(with("X-Claim: a\r\nX-Claims: b")).others["x-claim"])
  end)

  it("takes no header for what this module calls its own", function()
    for _, name in ipairs { "unfit", "others", "identity", "status", "1" } do
      local reply = assert(replies.parse(with(name .. ": x")))
      assert.equal("x", reply.others[name])
      assert.equal(200, reply.status)
      assert.equal("app-1", reply.identity["X-Application-Id"])
    end
  end)

  for text, whole in pairs { ALLOWED = ALLOWED, DENIED = DENIED, MINTED = MINTED } do
    it("cut at any byte is incomplete, neither a reply nor a mistake: " .. text, function()
      for at = 0, #whole - 1 do
        local reply, why = replies.parse(whole:sub(1, at))
        assert.is_nil(reply, at)
        assert.is_nil(why, at)
      end
    end)

    it("survives being stored, without its session: " .. text, function()
      local before = replies.parse(whole)
      local after = assert(replies.parse(replies.render(before)))
      before.set_cookies, before.session_id, before.access_token, before.max_age = nil, nil, nil, 0
      assert.same(before, after)
      assert.same(after, replies.parse_rendered(replies.render(before)))
      assert.equal(replies.parse_rendered(replies.render(before)), replies.parse_rendered(replies.render(before)))
    end)

    it("is not known again when a byte is missing or added: " .. text, function()
      local rendered = replies.render(replies.parse(whole))
      assert.truthy(replies.parse_rendered(rendered))
      assert.is_nil((replies.parse_rendered(rendered:sub(1, -2))))
      assert.is_nil((replies.parse_rendered(rendered .. "x")))
    end)
  end
end)

describe("what is stored", function()
  it("holds no cookie and no minted token", function()
    assert.is_nil(replies.render(replies.parse(ALLOWED)):find("Secure", 1, true))
    assert.is_nil(replies.render(replies.parse(MINTED)):find("minted", 1, true))
  end)

  it("holds no header that nobody may be told", function()
    local rendered = replies.render(replies.parse(with("X-Claim: a\r\nX-Claim: b")))
    assert.is_nil(rendered:lower():find("x-claim", 1, true))
  end)

  it("is remembered by its whole bytes, and where it is long not at all", function()
    local remembered = {}
    local judge = fresh("reply", { memo = {
      new = real_memo.new, get = real_memo.get,
      put = function(memo, key, value)
        remembered[#remembered + 1] = key
        real_memo.put(memo, key, value)
      end,
    } }).parse_rendered
    local short = "HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n"
    local long = "HTTP/1.1 403 x\r\nContent-Length: 600\r\n\r\n" .. ("b"):rep(600)
    for _ = 1, 2 do
      assert.equal("", judge(short).body)
      assert.equal(600, #judge(long).body)
    end
    local times = {}
    for _, key in ipairs(remembered) do
      times[key] = (times[key] or 0) + 1
    end
    assert.equal(1, times[short])
    assert.is_nil(times[long])
  end)

  it("is never another reply than its own", function()
    for _ = 1, 2 do
      for at = 1, 50 do
        local one = ALLOWED:gsub("app%-1", "app-" .. at)
        assert.equal("app-" .. at, replies.parse_rendered(one).identity["X-Application-Id"])
      end
    end
  end)
end)

describe("groups", function()
  it("are a list of one's own", function()
    local first = replies.groups_in("gold, internal,x")
    assert.same({ "gold", "internal", "x" }, first)
    first[1] = "changed"
    assert.same({ "gold", "internal", "x" }, replies.groups_in("gold, internal,x"))
  end)
end)

describe("the reason", function()
  for body, reason in pairs {
    ['{"status":401,"reason":"token_expired"}'] = "token_expired", ['{ "reason" : "revoked" }'] = "revoked",
    ['{"reason":"A\\"b"}'] = false, ['{"reason":7}'] = false, ["reason"] = false, [""] = false,
    ['{"reason":"not a reason"}'] = false,
  } do
    it(("in %q is %s"):format(body, tostring(reason)), function()
      assert.equal(reason or nil, replies.reason_in(body))
    end)
  end
end)

describe("max-age", function()
  for value, seconds in pairs {
    ["max-age=30"] = 30, ["private,max-age=30"] = 30, ["MAX-AGE=5"] = 5, ["max-age=0"] = 0,
    ["max-age=99999999999"] = 31536000, ["no-store"] = 0, ["max-age=30, no-store"] = 0, ["no-cache, max-age=3"] = 0,
    ["s-maxage=30"] = 0, ["x-max-age=30"] = 0, ["max-age=-1"] = 0, ["max-age=soon"] = 0, [""] = 0,
  } do
    it("of '" .. value .. "' is " .. seconds, function()
      local bytes = ALLOWED:gsub("private, max%-age=30", (value:gsub("%%", "%%%%")))
      assert.equal(seconds, replies.parse(bytes).max_age)
    end)
  end
end)

describe("not well-formed", function()
  for name, bytes in pairs {
    ["another protocol"] = "SSH-2.0",
    ["HTTP/1.0"] = ALLOWED:gsub("1%.1", "1.0"),
    ["no space after the status"] = ALLOWED:gsub("200 OK", "200"),
    ["four digits"] = ALLOWED:gsub("200", "2000"),
    ["a missing client"] = ALLOWED:gsub("X%-Credential%-Identifier: [^\r]*\r\n", ""),
    ["a missing application"] = ALLOWED:gsub("X%-Application%-Id: [^\r]*\r\n", ""),
    ["a missing method"] = ALLOWED:gsub("X%-Auth%-Method: [^\r]*\r\n", ""),
    ["an application of blanks"] = ALLOWED:gsub("app%-1", " \t "),
    ["an allowance that says nothing"] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ["groups that are none"] = with("X-Application-Groups: a b"),
    ["repeated groups"] = with("X-Application-Groups: a\r\nX-Application-Groups: b"),
    ["a token that is none"] = with("X-Access-Token: a b"),
    ["a repeated token"] = with("X-Access-Token: a\r\nx-access-token: a"),
    ["an oversized token"] = with("X-Access-Token: " .. ("t"):rep(8193)),
    ["a repeated session"] = with("X-Session-Id: a\r\nX-Session-Id: b"),
    ["an oversized session"] = with("X-Session-Id: " .. ("s"):rep(1025)),
    ["two content types"] = DENIED:gsub("\r\nretry", "\r\nContent-Type: text/html\r\nretry"),
    ["no headers at all"] = "HTTP/1.1 403 Forbidden\r\n\r\n",
    ["line feeds alone"] = ALLOWED:gsub("\r\n", "\n", 1),
    ["an empty length"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length:"),
    ["another Transfer-Encoding"] = with("transfer-encoding: identity"),
    ["an unknown status"] = DENIED:gsub("401", "418"),
    ["a control character in the phrase"] = ALLOWED:gsub("OK", "O\1K"),
    ["a repeated identity"] = with("X-APPLICATION-ID: app-2"),
    ["a missing identity"] = ALLOWED:gsub("X%-Application%-Name: Orders\r\n", ""),
    ["an underscore in place of a hyphen"] = ALLOWED:gsub("X%-Application%-Name", "X_Application_Name"),
    ["an empty application"] = ALLOWED:gsub("app%-1", ""),
    ["an empty client"] = ALLOWED:gsub("orders%-mobile", ""),
    ["an unknown method"] = ALLOWED:gsub("session\r\n", "Session\r\n"),
    ["a tab in an identity"] = ALLOWED:gsub("Orders", "Or\tders"),
    ["NUL"] = with("X-Other: a\0b"),
    ["DEL"] = with("X-Other: a\127b"),
    ["a bare line feed"] = with("X-Other: a\nX-Evil: b"),
    ["a bare carriage return"] = with("X-Other: a\rX-Evil: b"),
    ["a folded line"] = with("X-Other: a\r\n b"),
    ["no colon"] = with("X-Other"),
    ["no name"] = with(": a"),
    ["a space before the colon"] = with("X-Other : a"),
    ["no length"] = ALLOWED:gsub("Content%-Length: 2\r\n", ""),
    ["two lengths"] = with("content-length: 2"),
    ["a list of lengths"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length: 2, 2"),
    ["a signed length"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length: +2"),
    ["a padded length"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length: 0000000002"),
    ["a hexadecimal length"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length: 0x2"),
    ["a long body"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length: 65537"),
    ["an absurd length"] = ALLOWED:gsub("Content%-Length: 2", "Content-Length: " .. ("9"):rep(40)),
    ["chunks"] = with("Transfer-Encoding: chunked"),
    ["more than its length"] = ALLOWED .. "x",
    ["Retry-After as a date"] = DENIED:gsub("retry%-after: 7", "retry-after: Fri, 31 Dec 1999 23:59:59 GMT"),
    ["Retry-After twice"] = DENIED:gsub("retry%-after: 7", "retry-after: 7\r\nretry-after: 8"),
    ["five cookies"] = with(("Set-Cookie: a=1\r\n"):rep(5):sub(1, -3)),
    ["an oversized identity"] = ALLOWED:gsub("Orders", ("o"):rep(1025)),
    ["65 lines"] = with(("X-Other: 1\r\n"):rep(65):sub(1, -3)),
    ["a long head"] = with("X-Other: " .. ("a"):rep(32768)),
    ["a head without an end"] = "HTTP/1.1 200 OK\r\nX-Other: " .. ("a"):rep(32768),
  } do
    it("is " .. name, function()
      local reply, why = replies.parse(bytes)
      assert.is_nil(reply)
      assert.is_string(why)
    end)
  end

  it("never says what it was given", function()
    for _, bytes in ipairs { with("secret"), with("X-Other: secret\1"), (ALLOWED:gsub("session\r\n", "secret\r\n")) } do
      local _, why = replies.parse(bytes)
      assert.is_nil(why:find("secret", 1, true))
    end
  end)

  it("a byte changed anywhere raises no error and never changes who is named", function()
    math.randomseed(1)
    local good = replies.parse(ALLOWED)
    local identity_from, identity_to = #"HTTP/1.1 200 OK\r\n" + 1, #"HTTP/1.1 200 OK\r\n" + #IDENTITY
    for at = 1, #ALLOWED do
      for _ = 1, 20 do
        local mutant = ALLOWED:sub(1, at - 1) .. string.char(math.random(0, 255)) .. ALLOWED:sub(at + 1)
        local reply = replies.parse(mutant)
        if reply and reply.identity and (at < identity_from or at > identity_to) then
          assert.same(good.identity, reply.identity)
        end
      end
    end
  end)
end)
