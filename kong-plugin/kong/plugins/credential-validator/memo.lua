-- Law of this file: what was found out before, in two generations of bounded size: what is asked for again stays.
-- Plain functions over plain tables: Kong's sandbox for streamed plugins has no metatables.

local _M = {}

-- Holds between `max` / 2 and `max` entries once it has filled.
function _M.new(max)
  return { young = {}, old = {}, count = 0, half = max / 2 }
end

function _M.put(memo, key, value)
  if memo.count >= memo.half then
    memo.old, memo.young, memo.count = memo.young, {}, 0
  end
  memo.young[key] = value
  memo.count = memo.count + 1
end

function _M.get(memo, key)
  local value = memo.young[key]
  if value ~= nil then
    return value
  end
  value = memo.old[key]
  if value ~= nil then
    _M.put(memo, key, value)
  end
  return value
end

return _M
