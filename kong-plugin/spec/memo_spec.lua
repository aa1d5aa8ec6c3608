-- Promise: what is found is what was put under that very key, and a memo never grows beyond its bound.

local memo = require "kong.plugins.credential-validator.memo"

local function size(of)
  local count = 0
  for _, generation in ipairs { of.young, of.old } do
    for _ in pairs(generation) do
      count = count + 1
    end
  end
  return count
end

describe("a memo", function()
  it("knows what was put, and nothing else", function()
    local of = memo.new(8)
    memo.put(of, "a", 1)
    memo.put(of, "A", 2)
    memo.put(of, 1, "number")
    memo.put(of, "1", "text")
    assert.equal(1, memo.get(of, "a"))
    assert.equal(2, memo.get(of, "A"))
    assert.equal("number", memo.get(of, 1))
    assert.equal("text", memo.get(of, "1"))
    assert.is_nil(memo.get(of, "a "))
    assert.is_nil(memo.get(memo.new(8), "a"))
  end)

  it("has the last value of a key, whichever generation held the one before", function()
    for puts_between = 0, 12 do
      local of = memo.new(8)
      memo.put(of, "key", "before")
      for at = 1, puts_between do
        memo.put(of, at, at)
      end
      memo.put(of, "key", "after")
      for at = 1, 3 do
        assert.equal("after", memo.get(of, "key"))
        memo.put(of, -at, at)
      end
    end
  end)

  it("never answers with another key's value and stays within its bound, whatever happens to it", function()
    math.randomseed(7)
    for _, max in ipairs { 2, 3, 8, 64 } do
      local of, put = memo.new(max), {}
      for step = 1, 5000 do
        local key = "key " .. math.random(1, 3 * max)
        if math.random() < 0.5 then
          put[key] = { step }
          memo.put(of, key, put[key])
        else
          local found = memo.get(of, key)
          assert.is_true(found == nil or found == put[key])
        end
        assert.is_true(size(of) <= max + 1)
      end
    end
  end)

  it("keeps what is asked for again, and forgets what is not", function()
    local of = memo.new(8)
    memo.put(of, "asked for", 1)
    memo.put(of, "not asked for", 1)
    for at = 1, 100 do
      memo.put(of, at, at)
      assert.equal(1, memo.get(of, "asked for"))
    end
    assert.is_nil(memo.get(of, "not asked for"))
  end)

  it("holds false as a value", function()
    local of = memo.new(2)
    memo.put(of, "key", false)
    memo.put(of, "other", 1)
    assert.is_false(memo.get(of, "key"))
  end)
end)
