-- return_units: put the units of cancelled orders up for sale again. Postgres has cancelled the orders before.
-- KEYS: stock, holds, deadlines, device_units, returned
-- ARGV: epoch, chain (lib/chain.lua), then per item: shopper, order, quantity, device, hold
--   hold: the command of the hold that the order was made from; "-": not known
-- Returns: now_ms, then per item "ok" or "again" (they were returned before).
-- Atomic because a unit must come back exactly once, however often this is repeated.
local stock, holds, deadlines, devices_key, returned = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, chain = ARGV[1], ARGV[2]
local ITEM = 5

local lane, failure = read_lane(stock, epoch, 'chain', 'chain_before')
if not lane then
  return failure
end
read_records(holds, column(3, ITEM))
local device_change = {}

local function return_one(shopper, order, quantity, device, hold)
  local state, units, till, bought, its_order, origin = parse_record(records[shopper])
  if its_order == order and state == 'ordering' and not is_from(origin, hold) then
    undo_checkout(lane, shopper, units, bought, origin)
    state, units, till, bought, its_order, origin = parse_record(records[shopper])
  end
  if redis.call('SADD', returned, order) == 0 then
    return 'again'
  end
  if its_order == order and state == 'ordering' then
    -- The order was committed and cancelled before its checkout was finished here.
    lane.ordering = lane.ordering - quantity
  else
    lane.sold = lane.sold - quantity
    bought = whole(math.max(bought - quantity, 0))
  end
  lane.available = lane.available + quantity
  count(device_change, device, -quantity)
  set_record(shopper, its_order == order and 'cancelled' or state, units, till, bought, its_order, origin)
  return 'ok'
end

local answers = { whole(now_ms()) }
for i = 3, #ARGV, ITEM do
  answers[#answers + 1] = return_one(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
end
if write_records(holds, deadlines) then
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
note_chain(stock, lane, chain)
return answers
