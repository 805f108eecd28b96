-- revive: take units again for a cancelled order whose money came late, or give back what was taken so in vain.
-- KEYS: stock, bought, device_units, returned
-- ARGV: epoch, verb ("take" | "give"), shopper, order, quantity, device
-- Returns: now_ms, then "ok" (also when it was done before), "short" (not so many units are free) or "limit" (the shopper or
--   the device has bought others meanwhile).
-- Atomic because free units, limits and the note of what was taken must change together. May be repeated: what was taken is
-- noted under the lane's epoch, because a lane that opens anew counts from Postgres and knows nothing of it.
local stock, bought_key, devices_key, returned = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, verb, shopper, order, quantity, device = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local now = whole(now_ms())
local note = order .. ':revived:' .. epoch
local is_taken = redis.call('SISMEMBER', returned, note) == 1

if verb == 'take' then
  if is_taken then
    return { now, 'ok' }
  end
  if lane.available < quantity then
    return { now, 'short' }
  end
  local bought = tonumber(redis.call('HGET', bought_key, shopper)) or 0
  local device_units = tonumber(redis.call('HGET', devices_key, device)) or 0
  if bought + quantity > lane.shopper_limit or device_units + quantity > lane.device_limit then
    return { now, 'limit' }
  end
  -- The order's units may come back once more now: a later cancellation is another one.
  redis.call('SREM', returned, order)
  redis.call('SADD', returned, note)
  lane.available, lane.sold = lane.available - quantity, lane.sold + quantity
else
  if not is_taken then
    return { now, 'ok' }
  end
  redis.call('SREM', returned, note)
  redis.call('SADD', returned, order)
  lane.available, lane.sold = lane.available + quantity, lane.sold - quantity
  quantity = -quantity
end
add_units(bought_key, { [shopper] = quantity })
add_units(devices_key, { [device] = quantity })
write_counters(stock, lane)
return { now, 'ok' }
