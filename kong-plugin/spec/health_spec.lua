-- Promise: a sidecar that fails rests for 1 to 10 s; then one request tries it, and one answer brings it back.

local health = require "kong.plugins.credential-validator.health"

describe("a sidecar", function()
  local its

  before_each(function()
    its = health.new()
  end)

  it("of which nothing is known is asked by everybody", function()
    for now = 0, 100, 10 do
      assert.is_false(health.rests(its, now))
    end
  end)

  it("rests longer after each failure, from 1 s to 10 s", function()
    local now = 1000
    for _, rest in ipairs { 1, 2, 4, 8, 10, 10, 10 } do
      health.bad(its, now)
      assert.is_true(health.rests(its, now))
      assert.is_true(health.rests(its, now + rest - 0.001))
      now = now + rest
      assert.is_false(health.rests(its, now))
    end
  end)

  it("is tried by one request after its rest, and by another when that one says nothing for a second", function()
    health.bad(its, 1000)
    assert.is_false(health.rests(its, 1001))
    for _, later in ipairs { 0, 0.5, 0.999 } do
      assert.is_true(health.rests(its, 1001 + later))
    end
    assert.is_false(health.rests(its, 1002))
    assert.is_true(health.rests(its, 1002.5))
  end)

  it("that answers is asked by everybody at once, and its next rest is a short one", function()
    for _ = 1, 5 do
      health.bad(its, 1000)
    end
    health.good(its)
    assert.is_false(health.rests(its, 1000))
    assert.is_false(health.rests(its, 1000))
    health.bad(its, 1000)
    assert.is_false(health.rests(its, 1001))
  end)

  it("makes news when it begins to fail, and not again before it has answered", function()
    assert.is_true(health.bad(its, 1000))
    assert.is_false(health.bad(its, 1001))
    health.good(its)
    assert.is_true(health.bad(its, 1002))
  end)

  it("that is too slow is passed over after the third time in a row alone", function()
    for _ = 1, 3 do
      assert.is_false(health.bad(its, 1000, true))
      assert.is_false(health.bad(its, 1000, true))
      assert.is_false(health.rests(its, 1000))
      health.good(its)
    end
    health.bad(its, 1000, true)
    health.bad(its, 1000, true)
    assert.is_true(health.bad(its, 1000, true))
    assert.is_true(health.rests(its, 1000))
    assert.is_false(health.bad(its, 1001, true)) -- no news, and a longer rest
    assert.is_true(health.rests(its, 1002.9))
  end)

  it("that fails otherwise is passed over at once, also after it was slow", function()
    health.bad(its, 1000, true)
    assert.is_true(health.bad(its, 1000))
    assert.is_true(health.rests(its, 1000))
  end)

  it("does not rest for hours where the clock is set back", function()
    health.bad(its, 10000)
    assert.is_false(health.rests(its, 5000))
  end)

  it("has a health of its own", function()
    health.bad(its, 1000)
    assert.is_false(health.rests(health.new(), 1000))
  end)
end)
