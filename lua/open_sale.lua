-- open_sale: write the sale's settings for the queue scripts and gateways; counters that live here stay.
-- KEYS: sale
-- ARGV: phase, room_opens_at, starts_at, ends_at, lanes
-- Returns: now_ms.
-- Atomic because the settings must change together, and an earlier phase must not replace a later one.
local sale = KEYS[1]
local phase, room_opens_at, starts_at, ends_at, lanes = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local now = now_ms()
if goes_back(redis.call('HGET', sale, 'phase'), phase) then
  return whole(now)
end
redis.call('HSET', sale, 'phase', phase, 'room_opens_at', room_opens_at, 'starts_at', starts_at, 'ends_at', ends_at,
  'lanes', lanes)
return whole(now)
