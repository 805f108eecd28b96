-- lock_lane: close a lane for its rebuild under a new epoch. Every other script refuses it until it opens again. Its records
-- stay; keys that are restored from Postgres alone are emptied.
-- KEYS: stock, deadlines, device_units, returned, drawn
-- ARGV: epoch (the new one)
-- Returns: now_ms, or an error LANE_FENCED if a later rebuild has begun.
-- Atomic because the lane must not sell while it is being rebuilt.
local stock, deadlines, device_units, returned, drawn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]

local living, rebuilding = unpack(redis.call('HMGET', stock, 'epoch', 'rebuilding'))
local newest = math.max(tonumber(living or 0), tonumber(rebuilding or 0))
if newest >= tonumber(epoch) and rebuilding ~= epoch then
  return redis.error_reply('LANE_FENCED the lane lives in epoch ' .. whole(newest))
end
redis.call('HSET', stock, 'rebuilding', epoch, 'run', this_run())
-- After a disaster, Postgres may use earlier version numbers again.
local gone = { 'epoch', 'supply_version', 'settings_version' }
for _, field in ipairs(redis.call('HKEYS', stock)) do
  if string.find(field, 'leaving', 1, true) == 1 then
    gone[#gone + 1] = field -- Postgres refuses what was set aside under an older epoch
  end
end
redis.call('HDEL', stock, unpack(gone))
redis.call('UNLINK', deadlines, device_units, returned, drawn)
return whole(now_ms())
