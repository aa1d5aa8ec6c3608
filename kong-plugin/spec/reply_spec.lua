-- Promise: only a whole, well-formed reply is a reply; a part of one is never taken for more or for less.

local replies = require "kong.plugins.credential-validator.reply"

local IDENTITY = "X-Application-Id: app-1\r\nX-Application-Name: Orders\r\nX-Credential-Identifier: orders-mobile\r\n"
  .. "X-Auth-Method: session\r\n"
local ALLOWED = "HTTP/1.1 200 OK\r\n" .. IDENTITY .. "Cache-Control: private, max-age=30\r\n"
  .. "Set-Cookie: __Host-session=a; Secure\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
local DENIED = 'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\nWWW-Authenticate: Basic realm="x"  \r\n'
  .. "Content-Type: application/problem+json\r\nretry-after: 7\r\nContent-Length: 4\r\n\r\nbody"

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

  for text in ("ALLOWED DENIED"):gmatch("%a+") do
    local whole = text == "ALLOWED" and ALLOWED or DENIED
    it("cut at any byte is incomplete, neither a reply nor a mistake: " .. text, function()
      for at = 0, #whole - 1 do
        local reply, why = replies.parse(whole:sub(1, at))
        assert.is_nil(reply, at)
        assert.is_nil(why, at)
      end
    end)

    it("survives being stored, without its cookies: " .. text, function()
      local before = replies.parse(whole)
      local after = assert(replies.parse(replies.render(before)))
      before.set_cookies, before.max_age = nil, 0
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
    ["a long head"] = with("X-Other: " .. ("a"):rep(16384)),
    ["a head without an end"] = "HTTP/1.1 200 OK\r\nX-Other: " .. ("a"):rep(16384),
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
