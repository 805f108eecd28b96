-- leave: give up places in line.
-- KEYS: queue, admitting, wants
-- ARGV: per item: shopper
-- Returns: now_ms, then per item "ok", "admitting" (being called at this moment) or "none".
-- The device's mark stays: it counts only while its shopper stands in line, or, with several lanes, for the whole sale.
-- Atomic because nobody may be called who has left.
local queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3]

local function leave(shopper)
  if redis.call('ZSCORE', admitting, shopper) then
    return 'admitting'
  end
  if redis.call('ZREM', queue, shopper) == 0 then
    return 'none'
  end
  redis.call('HDEL', wants, shopper)
  return 'ok'
end

local answers = { whole(now_ms()) }
for _, shopper in ipairs(ARGV) do
  answers[#answers + 1] = leave(shopper)
end
return answers
