-- Promise: our cookie is found and cut among any others, and no other is touched.

local cookies = require "kong.plugins.credential-validator.cookies"

local NAME = "__Host-session"

describe("the Cookie header", function()
  for _, row in ipairs {
    -- header, what is picked, what is left
    { "", nil, "" },
    { ";; ;", nil, ";; ;" },
    { ";; __Host-session=s;", "__Host-session=s", nil },
    { "a=1", nil, "a=1" },
    { "__Host-session=s", "__Host-session=s", nil },
    { "a=1; __Host-session=s; b=2", "__Host-session=s", "a=1; b=2" },
    { "a=1;__Host-session=s;b=2", "__Host-session=s", "a=1; b=2" },
    { "__Host-session=s; a=1; __Host-session=t", "__Host-session=s; __Host-session=t", "a=1" },
    { "\t__Host-session =s ; a=1", "__Host-session =s", "a=1" },
    { "__Host-session=", "__Host-session=", nil },
    { "__Host-session=a=b==", "__Host-session=a=b==", nil },
    { "__Host-session", nil, "__Host-session" },
    { "__host-session=s", nil, "__host-session=s" },
    { "x__Host-session=s; __Host-sessionx=t", nil, "x__Host-session=s; __Host-sessionx=t" },
    { 'a="1, __Host-session=s"', nil, 'a="1, __Host-session=s"' },
    { "a=__Host-session=s", nil, "a=__Host-session=s" },
    { "  \t ; a  b ", nil, "  \t ; a  b " },
    { "  \t ; a  b ;\t__Host-session=s ", "__Host-session=s", "a  b" },
    { " __Host-session \t= s ", "__Host-session \t= s", nil },
    { "=__Host-session", nil, "=__Host-session" },
  } do
    it(("%q"):format(row[1]), function()
      assert.equal(row[2], cookies.pick(row[1], NAME))
      assert.equal(row[3], cookies.without(row[1], NAME))
    end)
  end

  it("takes a name literally, not as a pattern", function()
    assert.equal("aXb=1", cookies.without("aXb=1; a.b=2", "a.b"))
  end)
end)
