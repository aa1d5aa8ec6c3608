"""What runs on the Redis server, where nothing comes between its steps.

Law of this file: a script touches the keys it is given and no others, and all of them are in one slot. Numbers
have 53 bits at most, which Lua and JSON hold exactly. What is stored beside the records bears names that begin
with a zero byte, as the key of no record does.
"""

from typing import Final

from validator.adapters.redis_connections import Script

HEAD: Final = b"\0head"  # the mark of the last entry
LAST: Final = b"\0last"  # its id
VERSION: Final = b"\0version"  # the highest of all
INCARNATION: Final = b"\0incarnation"  # which server's data this is
SINCE_MS: Final = b"\0since"  # from when on
RESTORING: Final = b"\0restoring"  # who has more to restore, and until when that is believed: owner=ms ...

ENTRIES_KEPT: Final = 10_000
"""About as many entries of the log are kept; whoever is further behind reads everything."""

RESTORING_MS: Final = 10_000
"""So long it is believed that somebody has more to restore who does not say so again. An end further off was said
by a clock that was set back since."""

AHEAD_MS: Final = 100 * 365 * 86_400_000
"""A version is a time, or was counted on from one. None that is further ahead of Redis's clock than that was
written by us, whatever our clocks have said: it is not believed, and none is counted on from it."""

_BELIEVED: Final = f"""
local function believed(text)
  local version = tonumber(text or 0)
  if version and version >= 0 and version <= now + {AHEAD_MS} then return math.floor(version) end
  return 0
end
"""

APPEND: Final = Script(
    f"""
local head = redis.call('HGET', KEYS[1], '\\0head')
if (head or '') ~= ARGV[1] then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
{_BELIEVED}
local version = math.max(now, believed(ARGV[2]) + 1, believed(redis.call('HGET', KEYS[1], '\\0version')) + 1)
local text = string.format('%.0f', version)
local last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', {ENTRIES_KEPT}, '*',
  'mark', ARGV[3], 'previous', ARGV[1], 'version', text, 'keys', ARGV[4])
for i = 8, #ARGV, 2 do
  local value = ARGV[i + 1]
  if i < 8 + 2 * ARGV[5] then value = '[' .. text .. ',' .. value .. ']' end
  redis.call('HSET', KEYS[1], ARGV[i], value)
end
redis.call('HSET', KEYS[1], '\\0head', ARGV[3], '\\0last', last, '\\0version', text)
local said = redis.call('HGET', KEYS[1], '\\0restoring')
if said or ARGV[7] == '1' then
  local restoring = ''
  for owner, ends in string.gmatch(said or '', '([%w_-]+)=(%d+)') do
    ends = tonumber(ends)
    if owner ~= ARGV[6] and ends > now - {RESTORING_MS} and ends <= now + {RESTORING_MS} then
      restoring = restoring .. owner .. '=' .. string.format('%.0f', ends) .. ' '
    end
  end
  if ARGV[7] == '1' then restoring = restoring .. ARGV[6] .. '=' .. string.format('%.0f', now + {RESTORING_MS}) end
  if restoring ~= '' then
    redis.call('HSET', KEYS[1], '\\0restoring', restoring)
  else
    redis.call('HDEL', KEYS[1], '\\0restoring')
  end
end
return {{last, text}}
"""
)
"""KEYS: records, log. ARGV: the mark of the last entry as the writer knows it, the version to be above, the new
mark, the names of the keys as JSON, how many of the records are new, who writes, and whether he has more to
restore ("1"); then of each of the new records its key and its content as JSON, and of each of the others its key
and what is to stand there. Returns id and version of the entry, or nil where another one is the last."""

STATE: Final = Script(
    f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], '\\0head', '\\0last', '\\0version', '\\0incarnation', '\\0since',
  '\\0restoring')
{_BELIEVED}
local since = tonumber(found[5])
if found[4] ~= ARGV[1] or not since or since > now then
  redis.call('HSET', KEYS[1], '\\0incarnation', ARGV[1], '\\0since', string.format('%.0f', now))
  since = now
end
local restored = since
for ends in string.gmatch(found[6] or '', '=(%d+)') do
  ends = tonumber(ends)
  if ends <= now + {RESTORING_MS} then restored = math.max(restored, ends) end
end
local last = '0-0'
if found[1] then last = found[2] or '' end
if string.match(last, '^%d+%-%d+$') and redis.call('XREAD', 'COUNT', 1, 'STREAMS', KEYS[2], last) then
  redis.call('XADD', KEYS[2], 'MAXLEN', 0, '*', 'end', 'lost')
end
return {{found[1], found[2], string.format('%.0f', believed(found[3])), math.max(0, now - restored), now}}
"""
)
"""KEYS: records, log. ARGV: which server this is, by its replication id. Returns mark, id and version of the last
entry, for how many milliseconds this server has had this state with nobody restoring it, and its time in
milliseconds. Empties a log that goes on behind the last entry of which the records know: they were removed or
replaced without it, or the entry is somebody else's, and nobody could follow that."""

WRITTEN: Final = Script(
    """
local entry = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not entry then return false end
local mark
for i = 1, #entry[2], 2 do
  if entry[2][i] == 'mark' then mark = entry[2][i + 1] end
end
if mark ~= ARGV[2] then return false end
return redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
"""
)
"""KEYS: records, log. ARGV: id and mark of an entry, and keys of records. Returns what stands there, or nil where
the log does not have the entry (any more)."""

PURGE: Final = Script(
    """
local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
"""
)
"""KEYS: records. ARGV: of each record its key and what stands there. Removes those that have not changed since."""
