-- leave: give up places in line.
-- KEYS: queue, admitting, wants, priority, parked, absent, journal
-- ARGV: per item: shopper
-- Returns: now_ms, then per item "ok", "admitting" (being called at this moment) or "none".
-- The device's mark stays: it counts only while its shopper stands in line, or, with several lanes, for the whole sale.
-- Atomic because nobody may be called who has left.
local queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3]
local priority, parked, absent, journal = KEYS[4], KEYS[5], KEYS[6], KEYS[7]

local time, lines = now_us(), {}
local function leave(shopper)
  if redis.call('ZSCORE', admitting, shopper) then
    return 'admitting'
  end
  local stood = redis.call('ZREM', queue, shopper) + redis.call('ZREM', priority, shopper)
    + redis.call('ZREM', parked, shopper)
  if stood == 0 then
    return 'none'
  end
  redis.call('HDEL', wants, shopper)
  redis.call('ZREM', absent, shopper)
  lines[#lines + 1] = string.format('left %s %d', shopper, time)
  return 'ok'
end

local answers = { whole(math.floor(time / 1000)) }
for _, shopper in ipairs(ARGV) do
  answers[#answers + 1] = leave(shopper)
end
write_journal(journal, lines)
return answers
