-- revive: take units again for a cancelled order whose money came late, or give back units taken in vain.
-- KEYS: stock, holds, deadlines, device_units, returned
-- ARGV: epoch, verb ("take" | "give"), shopper, order, quantity, device
-- Returns: now_ms, then "ok" (also if it was done before), "short" (not enough units are free) or "limit" (the shopper or
--   the device has other units by now, in orders or in the cart).
-- Atomic because free units, limits and the note of taken units must change together. May be repeated: taken units are noted
-- under the lane's epoch, because a lane that opens anew counts from Postgres and does not know them.
local stock, holds, deadlines, devices_key, returned = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, verb, shopper, order, quantity, device = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local lane, failure = read_lane(stock, epoch, 'shopper_limit', 'device_limit')
if not lane then
  return failure
end
local now = whole(now_ms())
local note = order .. ':revived:' .. epoch
read_records(holds, { shopper })
local state, units, till, bought, its_order, origin = parse_record(records[shopper])
local is_taken = redis.call('SISMEMBER', returned, note) == 1

if verb == 'take' then
  if is_taken then
    return { now, 'ok' }
  end
  if lane.available < quantity then
    return { now, 'short' }
  end
  local in_cart = (state == 'held' or state == 'ordering') and units or 0
  local device_units = read_units(devices_key, { device })[device]
  if bought + in_cart + quantity > lane.shopper_limit or device_units + quantity > lane.device_limit then
    return { now, 'limit' }
  end
  -- The order's units may come back once more, because a later cancellation is another one.
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
set_record(shopper, state, units, till, whole(math.max(bought + quantity, 0)), its_order, origin)
write_records(holds, deadlines)
add_units(devices_key, { [device] = quantity })
write_counters(stock, lane)
return { now, 'ok' }
