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
read_records(holds, column(2, ITEM))
local device_change = {}

local function release(shopper, what)
  local state, quantity, till, bought, order, origin = parse_record(records[shopper])
  if state == ENDED[what] then
    return 'ok ' .. quantity
  end
  if state ~= what then
    return state
  end
  lane.available = lane.available + quantity
  if what == 'held' then
    local _, device = parse_origin(origin)
    lane.held = lane.held - quantity
    count(device_change, device, -quantity)
  else
    lane.claimed = lane.claimed - quantity
  end
  set_record(shopper, ENDED[what], quantity, till, bought, order, origin)
  return 'ok ' .. quantity
end

local answers = { whole(now_ms()) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = release(ARGV[i], ARGV[i + 1])
end
if write_records(holds, deadlines) then
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
return answers
