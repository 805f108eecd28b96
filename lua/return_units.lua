-- return_units: the units of cancelled orders are for sale again. Postgres has cancelled them before.
-- KEYS: stock, holds, deadlines, bought, device_units, returned
-- ARGV: epoch, then per item: shopper, order, quantity, device, hold (the command of the hold that the order was made
--   from; "-": not known)
-- Returns: now_ms, then per item "ok" or "again" (they were returned before).
-- Atomic because a unit must come back exactly once, however often this is repeated.
local stock, holds, deadlines, bought_key, devices_key, returned = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local epoch = ARGV[1]
local ITEM = 5

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local records = read_many(holds, column(2, ITEM), parse_record)
local changed, bought_change, device_change = {}, {}, {}

local function return_one(shopper, order, quantity, device, hold)
  local record = records[shopper]
  if record and record.order == order and record.state == 'ordering' and not is_from(record, hold) then
    undo_checkout(lane, record)
    changed[shopper] = true
  end
  if redis.call('SADD', returned, order) == 0 then
    return 'again'
  end
  local mine = record and record.order == order
  if mine and record.state == 'ordering' then
    -- The order was committed and cancelled before its checkout was finished here.
    lane.ordering = lane.ordering - quantity
  else
    lane.sold = lane.sold - quantity
    count(bought_change, shopper, -quantity)
  end
  lane.available = lane.available + quantity
  count(device_change, device, -quantity)
  if mine then
    record.state = 'cancelled'
    changed[shopper] = true
  end
  return 'ok'
end

local answers, returned_any = { whole(now_ms()) }, false
for i = 2, #ARGV, ITEM do
  local answer = return_one(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
  returned_any = returned_any or answer == 'ok'
  answers[#answers + 1] = answer
end
if returned_any or next(changed) then
  write_records(holds, deadlines, records, changed)
  add_units(bought_key, bought_change)
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
return answers
