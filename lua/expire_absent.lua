-- expire_absent: people who have been absent too long lose their place.
-- KEYS: sale, queue, wants, priority, parked, absent, journal
-- ARGV: absence_ms, most (items a call)
-- Returns: now_ms, then the shoppers.
-- Atomic because somebody who comes back at this moment either keeps their place or loses it.
local sale, queue, wants = KEYS[1], KEYS[2], KEYS[3]
local priority, parked, absent, journal = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local absence_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2])

local keys = { queue = queue, wants = wants, priority = priority, parked = parked, absent = absent, journal = journal }
local noted, failure = read_line(sale, keys)
if not noted then
  return failure
end
local time, lines = now_us(), {}
local now = math.floor(time / 1000)
local answers = { whole(now) }
local overdue = redis.call('ZRANGEBYSCORE', absent, '-inf', whole(now - absence_ms), 'LIMIT', 0, most)
if #overdue == 0 then
  return answers
end
redis.call('ZREM', queue, unpack(overdue))
redis.call('ZREM', priority, unpack(overdue))
redis.call('ZREM', parked, unpack(overdue))
redis.call('ZREM', absent, unpack(overdue))
redis.call('HDEL', wants, unpack(overdue))
for _, shopper in ipairs(overdue) do
  answers[#answers + 1] = shopper
  lines[#lines + 1] = string.format('expired %s %d', shopper, time)
end
write_journal(journal, lines)
note_line(sale, keys, noted)
return answers
