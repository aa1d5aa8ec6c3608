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

ENTRIES_KEPT: Final = 10_000
"""About as many entries of the log are kept; whoever is further behind reads everything."""

APPEND: Final = Script(
    f"""
local head = redis.call('HGET', KEYS[1], '\\0head')
if (head or '') ~= ARGV[1] then return false end
local time = redis.call('TIME')
local version = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2]) + 1,
  tonumber(redis.call('HGET', KEYS[1], '\\0version') or 0) + 1)
local text = string.format('%.0f', version)
local last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', {ENTRIES_KEPT}, '*',
  'mark', ARGV[3], 'previous', ARGV[1], 'version', text, 'keys', ARGV[4])
for i = 6, #ARGV, 2 do
  local value = ARGV[i + 1]
  if i < 6 + 2 * ARGV[5] then value = '[' .. text .. ',' .. value .. ']' end
  redis.call('HSET', KEYS[1], ARGV[i], value)
end
redis.call('HSET', KEYS[1], '\\0head', ARGV[3], '\\0last', last, '\\0version', text)
return {{last, text}}
"""
)
"""KEYS: records, log. ARGV: the mark of the last entry as the writer knows it, the version to be above, the new
mark, the names of the keys as JSON, and how many of the records are new; then of each of these its key and its
content as JSON, and of each of the others its key and what is to stand there. Returns id and version of the entry,
or nil where another one is the last."""

STATE: Final = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], '\\0head', '\\0last', '\\0version', '\\0incarnation', '\\0since')
local since = tonumber(found[5])
if found[4] ~= ARGV[1] or not since or since > now then
  redis.call('HSET', KEYS[1], '\\0incarnation', ARGV[1], '\\0since', string.format('%.0f', now))
  since = now
end
local last = '0-0'
if found[1] then last = found[2] or '' end
if string.match(last, '^%d+%-%d+$') and redis.call('XREAD', 'COUNT', 1, 'STREAMS', KEYS[2], last) then
  redis.call('XADD', KEYS[2], 'MAXLEN', 0, '*', 'end', 'lost')
end
return {found[1], found[2], found[3], now - since}
"""
)
"""KEYS: records, log. ARGV: which server this is, by its replication id. Returns mark, id and version of the last
entry, and for how many milliseconds this server has had this state. Empties a log that goes on behind the last
entry of which the records know: they were removed or replaced without it, or the entry is somebody else's, and
nobody could follow that."""

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
