-- trust_line: begin to guard a line as it is now, or continue after it was mended, or note that it was filled.
-- KEYS: sale, queue, admitting, devices, wants, priority, parked, absent, journal
-- ARGV: guard_ms, is_filled ("1": everybody of its history who waits has a place), then per item: field, count
--   field, count: what the sale had counted, where that is lost; added to what was counted since
-- Returns: now_ms.
-- Atomic because the notes must match the keys, and counts must be added once.
local sale, queue, admitting, devices, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local priority, parked, absent, journal = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local guard_ms, is_filled = tonumber(ARGV[1]), ARGV[2]
local ITEM = 2

local now = now_ms()
if redis.call('HEXISTS', sale, 'guarded_until') == 0 then
  for i = 3, #ARGV, ITEM do
    redis.call('HINCRBY', sale, ARGV[i], ARGV[i + 1])
  end
end
note_line(sale, { queue = queue, admitting = admitting, devices = devices, wants = wants, priority = priority, parked = parked,
  absent = absent, journal = journal }, {})
redis.call('HSET', sale, 'guarded_until', whole(now + guard_ms))
-- A sale that was lost since has no settings yet: that was another line.
if is_filled == '1' and redis.call('HEXISTS', sale, 'phase') == 1 then
  redis.call('HSET', sale, 'filled', '1')
end
return whole(now)
