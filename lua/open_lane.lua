-- open_lane: start the life of a lane that was locked for it, with the data from Postgres, or update a living lane's settings.
-- KEYS: stock, holds, deadlines, device_units, returned, drawn
-- ARGV: epoch, supply, sold, claimed, held, opens_at, closes_at, paused, shopper_limit, device_limit, hold_ms, claim_ms, gate, phase, supply_version, settings_version
--   gate: "open": nobody can stand in this line yet; "line": somebody may. A living lane's stays as it is
--   phase, settings_version: the sale's; the settings of an earlier one than the lane knows are passed over
--   supply_version: Postgres', of the supply. A living lane hears of its supply by apply_supply only
-- Returns: "opened", "updated", or an error: LANE_FENCED if the lane lives, or is being rebuilt, under another epoch;
--   LANE_MISSING or LANE_LOST if Redis has lost it since it was locked or opened, together with the rebuild's data.
-- Atomic because a lane must never be seen with only some of its counters.
local stock, holds, deadlines, device_units, returned, drawn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local epoch, supply, sold, claimed, held = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local opens_at, closes_at, paused = ARGV[6], ARGV[7], ARGV[8]
local shopper_limit, device_limit, hold_ms, claim_ms, gate = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local phase, supply_version, settings_version = ARGV[14], ARGV[15], ARGV[16]

local living, rebuilding, run, known, known_version, kept = unpack(redis.call('HMGET', stock, 'epoch', 'rebuilding', 'run',
  'phase', 'settings_version', 'kept'))
if not (living or rebuilding) then
  return redis.error_reply('LANE_MISSING the lane is neither open nor being rebuilt')
end
if (living or rebuilding) ~= epoch then
  return redis.error_reply('LANE_FENCED the lane lives in epoch ' .. (living or rebuilding))
end
if run ~= this_run() then
  return redis.error_reply('LANE_LOST the lane was locked or opened in another life of Redis')
end

if not goes_back(known, phase) and tonumber(settings_version) >= tonumber(known_version or 0) then
  redis.call('HSET', stock, 'opens_at', opens_at, 'closes_at', closes_at, 'paused', paused, 'phase', phase,
    'settings_version', settings_version, 'shopper_limit', shopper_limit, 'device_limit', device_limit, 'hold_ms', hold_ms, 'claim_ms', claim_ms)
end
if not living or kept ~= epoch then
  keep(holds, deadlines, device_units, returned, drawn)
  redis.call('HSET', stock, 'kept', epoch)
end
if living then
  return 'updated'
end
redis.call('HSET', stock, 'epoch', epoch, 'supply', whole(supply),
  'available', whole(supply - sold - claimed - held), 'claimed', whole(claimed), 'held', whole(held), 'ordering', 0,
  'sold', whole(sold), 'leaving', 0, 'supply_version', supply_version, 'gate', gate, 'fetched_at', whole(now_ms()))
redis.call('HDEL', stock, 'rebuilding')
return 'opened'
