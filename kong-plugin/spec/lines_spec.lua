-- Promise: a line that is not exactly as agreed is refused, what was judged once is judged alike again, and no secret
-- is remembered.

local fresh = require "spec.fresh"
local real_memo = require "kong.plugins.credential-validator.memo"

describe("a line", function()
  local lines, remembered

  before_each(function()
    remembered = {}
    lines = fresh("lines", { memo = {
      new = real_memo.new, get = real_memo.get,
      put = function(memo, key, value)
        remembered[#remembered + 1] = key
        real_memo.put(memo, key, value)
      end,
    } })
  end)

  for line, expected in pairs {
    ["X-Name: value"] = { "x-name", "value" }, ["X-NAME:value"] = { "x-name", "value" }, ["n:"] = { "n", "" },
    ["n: \t v \t "] = { "n", "v" }, ["n: a: b"] = { "n", "a: b" }, ["n:a  b"] = { "n", "a  b" },
    ["!#$%&'*+-.^_`|~1: v"] = { "!#$%&'*+-.^_`|~1", "v" }, ["X_Name: v"] = { "x_name", "v" },
    ["n: Bücher"] = { "n", "Bücher" },
  } do
    it(("%q is a header"):format(line), function()
      for _ = 1, 2 do -- judged, and remembered
        local header = lines.header(line)
        assert.equal(expected[1], header.name)
        assert.equal(expected[2], header.value)
        assert.is_nil(header.unfit)
      end
    end)
  end

  for _, line in ipairs {
    "", " ", ":", ": v", "n", "n v", "n : v", " n: v", "\tn: v", "n\tm: v", "(n): v", "n/m: v", "é: v", '"n": v',
    "n: a\0b", "n: a\rb", "n: a\nb", "n: a\127b", "n: a\27b", "n\0: v", "\0", "n: v\r", "n: v\n", "n: v\0",
  } do
    it(("%q is no header, again and again"):format(line), function()
      for _ = 1, 2 do
        local header, why = lines.header(line)
        assert.is_nil(header)
        assert.is_string(why)
      end
      assert.same({}, remembered)
    end)
  end

  it("with any control character but a tab is no header", function()
    for code = 0, 255 do
      local bad = code < 32 and code ~= 9 or code == 127
      assert.equal(not bad, lines.header("n: a" .. string.char(code) .. "b") ~= nil, code)
    end
  end)

  for name, case in pairs {
    ["1024 bytes"] = { "x-application-id: " .. ("a"):rep(1024), true },
    ["1025 bytes"] = { "x-application-id: " .. ("a"):rep(1025), false },
    ["a claim of 1025 bytes"] = { "x-claim: " .. ("a"):rep(1025), false },
    ["a tab within"] = { "x-application-name: a\tb", false },
    ["one group"] = { "x-application-groups: gold", true },
    ["two groups"] = { "X-Application-Groups: gold, internal", true },
    ["32 groups of 128 bytes"] = { "x-application-groups: " .. (("g"):rep(128) .. ", "):rep(32):sub(1, -3), true },
    ["4225 bytes of groups"] = { "x-application-groups: " .. ("g"):rep(4225), false },
    ["no group"] = { "x-application-groups:", false },
    ["an empty group"] = { "x-application-groups: a, , b", false },
    ["an empty first group"] = { "x-application-groups: , a", false },
    ["an empty last group"] = { "x-application-groups: a,", false },
    ["a group with a space"] = { "x-application-groups: a b", false },
    ["a group with two spaces before"] = { "x-application-groups: a,  b", false },
    ["a group in UTF-8"] = { "x-application-groups: é", false },
    ["a token"] = { "x-access-token: eyJ.a-b_c~d+e/f==", true },
    ["a token of 8192 bytes"] = { "x-access-token: " .. ("t"):rep(8192), true },
    ["a token of 8193 bytes"] = { "x-access-token: " .. ("t"):rep(8193), false },
    ["no token"] = { "x-access-token:", false },
    ["a token with a space"] = { "x-access-token: a b", false },
    ["a token with a comma"] = { "x-access-token: a,b", false },
    ["a token with = within"] = { "x-access-token: a=b", false },
    ["a token in UTF-8"] = { "x-access-token: é", false },
  } do
    it((case[2] and "can" or "cannot") .. " be told to an upstream with " .. name, function()
      for _ = 1, 2 do
        local header = assert(lines.header(case[1]))
        assert.equal(case[2], header.unfit == nil)
      end
    end)
  end

  it("is never remembered where it holds a secret, in whatever case", function()
    for _, name in ipairs { "Set-Cookie", "set-cookie", "SET-COOKIE", "X-Access-Token", "x-access-token" } do
      assert.truthy(lines.header(name .. ": secret"))
    end
    assert.same({}, remembered)
  end)

  it("is never remembered where it is long", function()
    local long = "x-claim: " .. ("a"):rep(lines.MAX_KEPT_BYTES)
    assert.truthy(lines.header(long))
    assert.equal(200, lines.status("HTTP/1.1 200 " .. ("a"):rep(lines.MAX_KEPT_BYTES)))
    assert.equal(5, lines.max_age("max-age=5, " .. ("a"):rep(lines.MAX_KEPT_BYTES)))
    assert.same({}, remembered)
    lines.header(long:sub(1, lines.MAX_KEPT_BYTES))
    assert.equal(1, #remembered)
  end)

  it("is never another one that was remembered", function()
    local a, b = lines.header("x-application-id: app-1"), lines.header("x-application-id: app-2")
    assert.equal("app-1", a.value)
    assert.equal("app-2", b.value)
    assert.equal("app-1", lines.header("x-application-id: app-1").value)
  end)
end)

describe("a status line", function()
  local lines = fresh "lines"

  for _, status in ipairs { 200, 401, 403, 404, 429, 503 } do
    it("says " .. status, function()
      for _ = 1, 2 do
        assert.equal(status, lines.status("HTTP/1.1 " .. status .. " Phrase of its own"))
        assert.equal(status, lines.status("HTTP/1.1 " .. status .. " "))
      end
    end)
  end

  for _, line in ipairs {
    "", "HTTP/1.1", "HTTP/1.1 200", "HTTP/1.1  200 OK", "HTTP/1.1 200\tOK", "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK",
    "HTTP/1.1 20x OK", "HTTP/1.0 200 OK", "HTTP/2 200 OK", "HTTP/1x1 200 OK", "http/1.1 200 OK", " HTTP/1.1 200 OK",
    "HTTP/1.1 200 O\1K", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 O\nK", "HTTP/1.1 200 O\0K", "HTTP/1.1 200 OK\127",
    "HTTP/1.1 100 Continue", "HTTP/1.1 201 Created", "HTTP/1.1 204 No Content", "HTTP/1.1 302 Found",
    "HTTP/1.1 400 Bad Request", "HTTP/1.1 407 x", "HTTP/1.1 418 x", "HTTP/1.1 500 x", "HTTP/1.1 502 x",
  } do
    it(("is not %q"):format(line), function()
      for _ = 1, 2 do
        local status, why = lines.status(line)
        assert.is_nil(status)
        assert.is_string(why)
      end
    end)
  end

  it("says no other status than these six", function()
    local said = 0
    for status = 0, 999 do
      said = said + (lines.status(("HTTP/1.1 %03d x"):format(status)) and 1 or 0)
    end
    assert.equal(6, said)
  end)
end)

describe("max-age", function()
  local lines = fresh "lines"

  for value, seconds in pairs {
    ["max-age=30"] = 30, ["private,max-age=30"] = 30, ["private, max-age=30"] = 30, ["MAX-AGE=5"] = 5,
    ["max-age=0"] = 0, ["max-age=99999999999"] = 31536000, ["max-age=" .. ("9"):rep(400)] = 31536000,
    ["no-store"] = 0, ["NO-STORE, max-age=30"] = 0, ["max-age=30, no-store"] = 0, ["max-age=30,no-store"] = 0,
    ["no-cache, max-age=3"] = 0, ["max-age=3, no-cache=\"x\""] = 0, ["s-maxage=30"] = 0, ["x-max-age=30"] = 0,
    ["max-age=-1"] = 0, ["max-age=soon"] = 0, ["max-age=\"30\""] = 0, ["max-age =30"] = 0, ["max-age"] = 0, [""] = 0,
    ["private"] = 0,
  } do
    it(("of %q is %d"):format(value:sub(1, 40), seconds), function()
      assert.equal(seconds, lines.max_age(value))
      assert.equal(seconds, lines.max_age(value))
    end)
  end
end)
