-- finish_checkout: ordering → sold where Postgres has the order; back to available where it has refused; back to the
-- hold, with its old end, where the command was no checkout at all, or one that Postgres has made from another hold.
-- KEYS: stock, holds, deadlines, bought, device_units
-- ARGV: epoch, then per item: shopper, order, outcome ("committed" | "refused" | "undone"), hold (the command of the
--   hold that a committed order was made from; "-": not known)
-- Returns: now_ms, then per item "ok" (also when it was finished before) or "gone" (the record is about something else).
-- Atomic because counters, limit and record must change together. May be repeated.
local stock, holds, deadlines, bought_key, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]
local ITEM = 4

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local records = read_many(holds, column(2, ITEM), parse_record)
local changed, bought_change, device_change = {}, {}, {}

local function finish(shopper, order, outcome, hold)
  local record = records[shopper]
  if not record or record.order ~= order then
    return 'gone'
  end
  if record.state ~= 'ordering' then
    return 'ok'
  end
  if outcome == 'undone' or (outcome == 'committed' and not is_from(record, hold)) then
    undo_checkout(lane, record)
    changed[shopper] = true
    return 'ok'
  end
  lane.ordering = lane.ordering - record.quantity
  if outcome == 'committed' then
    lane.sold = lane.sold + record.quantity
    record.state = 'ordered'
    count(bought_change, shopper, record.quantity)
  else
    lane.available = lane.available + record.quantity
    record.state = 'released'
    count(device_change, record.device, -record.quantity)
  end
  changed[shopper] = true
  return 'ok'
end

local answers = { whole(now_ms()) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = finish(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if next(changed) then
  write_records(holds, deadlines, records, changed)
  add_units(bought_key, bought_change)
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
return answers
