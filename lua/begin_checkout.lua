-- begin_checkout: hold → ordering. From here on the units cannot expire; a lease replaces the deadline, and when it
-- runs out the reconciler asks Postgres about the order.
-- KEYS: stock, holds, deadlines
-- ARGV: epoch, lease_ms, then per item: shopper, order
-- Returns: now_ms, then per item the shopper's record as it was, if the units belong to the order now or did before;
--   or one word: "checkout_running" (of another order of this shopper), "stopped" (lib/lane.lua), the record's state, or "none".
-- Atomic because expiry and checkout must not both get the units.
local stock, holds, deadlines = KEYS[1], KEYS[2], KEYS[3]
local epoch, lease_ms = ARGV[1], tonumber(ARGV[2])
local ITEM = 2

local lane, failure = read_lane(stock, epoch, 'stopped')
if not lane then
  return failure
end
local now = now_ms()
local lease_till = whole(now + lease_ms)
read_records(holds, column(3, ITEM))

local function begin(shopper, order)
  if lane.stopped == 1 then
    return 'stopped'
  end
  local record = records[shopper]
  local state, quantity, till, bought, its_order, origin = parse_record(record)
  if its_order == order and (state == 'ordering' or state == 'ordered') then
    return record
  end
  if state == 'ordering' then
    return 'checkout_running'
  end
  if state == 'held' and tonumber(till) <= now then
    return 'expired'
  end
  if state ~= 'held' then
    return state
  end
  lane.held = lane.held - quantity
  lane.ordering = lane.ordering + quantity
  set_record(shopper, 'ordering', quantity, lease_till, bought, order, origin)
  return record
end

local answers = { whole(now) }
for i = 3, #ARGV, ITEM do
  answers[#answers + 1] = begin(ARGV[i], ARGV[i + 1])
end
if write_records(holds, deadlines) then
  write_counters(stock, lane)
end
return answers
