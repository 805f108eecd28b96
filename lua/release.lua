-- release: give held units, or a claim, back.
-- KEYS: stock, holds, deadlines, device_units
-- ARGV: epoch, then per item: shopper, what ("held" | "claim")
-- Returns: now_ms, then per item "ok quantity" (also when it was released before), or the record's state, or "none".
-- Atomic because the units must leave the cart and become free in one step.
local stock, holds, deadlines, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch = ARGV[1]
local ITEM = 2
local ENDED = { held = 'released', claim = 'left' }

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local records = read_many(holds, column(2, ITEM), parse_record)
local changed, device_change = {}, {}

local function release(shopper, what)
  local record = records[shopper]
  if not record then
    return 'none'
  end
  if record.state == ENDED[what] then
    return 'ok ' .. whole(record.quantity)
  end
  if record.state ~= what then
    return record.state
  end
  lane.available = lane.available + record.quantity
  if what == 'held' then
    lane.held = lane.held - record.quantity
    count(device_change, record.device, -record.quantity)
  else
    lane.claimed = lane.claimed - record.quantity
  end
  record.state = ENDED[what]
  changed[shopper] = true
  return 'ok ' .. whole(record.quantity)
end

local answers = { whole(now_ms()) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = release(ARGV[i], ARGV[i + 1])
end
if next(changed) then
  write_records(holds, deadlines, records, changed)
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
return answers
