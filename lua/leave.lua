-- leave: give up places in line.
-- KEYS: queue, admitting, devices, wants
-- ARGV: per item: shopper, device
-- Returns: now_ms, then per item "ok", "admitting" (being called at this moment) or "none".
-- Atomic because the place and the device's mark must go together.
local queue, admitting, devices, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ITEM = 2

local function leave(shopper, device)
  if redis.call('ZSCORE', admitting, shopper) then
    return 'admitting'
  end
  if redis.call('ZREM', queue, shopper) == 0 then
    return 'none'
  end
  redis.call('HDEL', wants, shopper)
  if redis.call('HGET', devices, device) == shopper then
    redis.call('HDEL', devices, device)
  end
  return 'ok'
end

local answers = { whole(now_ms()) }
for i = 1, #ARGV, ITEM do
  answers[#answers + 1] = leave(ARGV[i], ARGV[i + 1])
end
return answers
