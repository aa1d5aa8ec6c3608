-- Law of this file: which of several sidecars are asked, and in which order. Nobody is asked for his health: only what
-- became of real requests counts, in each worker by itself. Pure: `now` is an argument, in seconds.

local min = math.min

local FIRST_REST_S = 1 -- a sidecar that restarts is back within it
local LONGEST_REST_S = 10
local SLOW_IN_A_ROW = 3 -- fewer may be what clients ask about, whose identity provider is slow

local _M = {}

-- A sidecar's health, before anything is known.
function _M.new()
  return { failures = 0, slow = 0, rests_until = 0 }
end

-- Whether it is to be passed over as long as there is another. Where its rest is over, one request tries it, and the
-- others go on passing it over until that one has come back.
function _M.rests(health, now)
  if health.failures == 0 then
    return false
  end
  local left = health.rests_until - now
  if left > 0 and left <= LONGEST_REST_S then -- more: the clock was set back
    return true
  end
  health.rests_until = now + FIRST_REST_S
  return false
end

-- It answered.
function _M.good(health)
  health.failures, health.slow = 0, 0
end

-- It gave no well-formed reply; `slow`: because its time was up. Returns whether it is passed over from now on.
function _M.bad(health, now, slow)
  if slow and health.failures == 0 and health.slow + 1 < SLOW_IN_A_ROW then
    health.slow = health.slow + 1
    return false
  end
  local news = health.failures == 0
  health.failures = min(health.failures + 1, 5)
  health.rests_until = now + min(FIRST_REST_S * 2 ^ (health.failures - 1), LONGEST_REST_S)
  return news
end

return _M
