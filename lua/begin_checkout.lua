-- begin_checkout: hold → ordering. From here on the units cannot expire; a lease replaces the deadline, and when it
-- runs out the reconciler asks Postgres about the order.
-- KEYS: stock, holds, deadlines
-- ARGV: epoch, lease_ms, then per item: shopper, order
-- Returns: now_ms, then per item "ok quantity device command", "ordered quantity device command" (this order is
--   finished already); command is the one that made the hold;
--   "checkout_running" (another order of this shopper is), or the record's state, or "none".
-- Atomic because expiry and checkout must not both get the units.
local stock, holds, deadlines = KEYS[1], KEYS[2], KEYS[3]
local epoch, lease_ms = ARGV[1], tonumber(ARGV[2])
local ITEM = 2

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local now = now_ms()
local records = read_many(holds, column(3, ITEM), parse_record)
local changed = {}

local function begin(shopper, order)
  local record = records[shopper]
  if not record then
    return 'none'
  end
  if record.order == order and (record.state == 'ordering' or record.state == 'ordered') then
    local word = record.state == 'ordering' and 'ok' or 'ordered'
    return table.concat({ word, whole(record.quantity), record.device, record.command }, ' ')
  end
  if record.state == 'ordering' then
    return 'checkout_running'
  end
  if record.state == 'held' and record.till <= now then
    return 'expired'
  end
  if record.state ~= 'held' then
    return record.state
  end
  lane.held = lane.held - record.quantity
  lane.ordering = lane.ordering + record.quantity
  record.state, record.order, record.till = 'ordering', order, now + lease_ms
  changed[shopper] = true
  return table.concat({ 'ok', whole(record.quantity), record.device, record.command }, ' ')
end

local answers = { whole(now) }
for i = 3, #ARGV, ITEM do
  answers[#answers + 1] = begin(ARGV[i], ARGV[i + 1])
end
if next(changed) then
  write_records(holds, deadlines, records, changed)
  write_counters(stock, lane)
end
return answers
