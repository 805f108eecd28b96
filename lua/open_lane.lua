-- open_lane: start a lane's life in Redis from what Postgres says, or bring a living lane's settings up to date.
-- KEYS: stock
-- ARGV: epoch, supply, sold, opens_at, closes_at, paused, shopper_limit, device_limit, hold_ms, claim_ms
-- Returns: "opened", "updated", or an error LANE_FENCED if the lane lives under another epoch.
-- Atomic because a lane must never be seen with some of its counters.
local stock = KEYS[1]
local epoch, supply, sold = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local opens_at, closes_at, paused = ARGV[4], ARGV[5], ARGV[6]
local shopper_limit, device_limit, hold_ms, claim_ms = ARGV[7], ARGV[8], ARGV[9], ARGV[10]

local living = redis.call('HGET', stock, 'epoch')
if living and living ~= epoch then
  return redis.error_reply('LANE_FENCED the lane lives in epoch ' .. living)
end

redis.call('HSET', stock, 'opens_at', opens_at, 'closes_at', closes_at, 'paused', paused,
  'shopper_limit', shopper_limit, 'device_limit', device_limit, 'hold_ms', hold_ms, 'claim_ms', claim_ms)
if living then
  return 'updated'
end
redis.call('HSET', stock, 'epoch', epoch, 'supply', whole(supply), 'available', whole(supply - sold),
  'claimed', 0, 'held', 0, 'ordering', 0, 'sold', whole(sold),
  'version', 1, 'gate', 'line', 'gate_place', 0, 'fetched_at', whole(now_ms()))
return 'opened'
