-- reserve: put units into shoppers' carts; from their claim, or freely while the gate is open.
-- KEYS: stock, holds, deadlines, bought, device_units
-- ARGV: epoch, then per item: shopper, quantity, how, command, device
--   how: "all" units or none; "partial": fewer when fewer are free; "regain": a hold that was lost with its lane, all or
--   none, whatever the gate
-- Returns: now_ms, then per item one of
--   "ok quantity until state"        held (or the same answer again)
--   "reused"                         the command id was used with other contents
--   "already_held quantity"  "checkout_running"  "paused"  "not_open opens_at"  "ended"  "join_first"
--   "limit left"  "device_limit left"   "short available in_carts"
-- Atomic because checking and taking must be one step: this is where overselling would happen.
local stock, holds, deadlines, bought_key, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]
local ITEM = 5

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local now = now_ms()
local records = read_many(holds, column(2, ITEM), parse_record)
local bought = read_many(bought_key, column(2, ITEM), tonumber)
local devices = read_many(devices_key, column(6, ITEM), tonumber)
local changed, device_change, reservations = {}, {}, 0

local function reserve(shopper, quantity, how, command, device)
  local partial = how == 'partial'
  local asked = whole(quantity) .. (partial and 'p' or '')
  local record = records[shopper]
  if record and record.command == command then
    if record.asked ~= asked then
      return 'reused'
    end
    return table.concat({ 'ok', whole(record.quantity), whole(record.till), record.state }, ' ')
  end
  if record and record.state == 'held' and record.till > now then
    if record.asked == asked then
      return table.concat({ 'ok', whole(record.quantity), whole(record.till), 'held' }, ' ')
    end
    return 'already_held ' .. whole(record.quantity)
  end
  if record and record.state == 'held' then
    return 'short ' .. whole(lane.available) .. ' 1' -- overdue: its units come back within one expiry step
  end
  if record and record.state == 'ordering' then
    return 'checkout_running'
  end
  if now < lane.opens_at then
    return 'not_open ' .. whole(lane.opens_at)
  end
  if now >= lane.closes_at then
    return 'ended'
  end
  if lane.paused == 1 then
    return 'paused'
  end
  local claim = record and record.state == 'claim' and record.till > now and record or nil
  local in_carts = lane.claimed + lane.held + lane.ordering
  if not claim and how ~= 'regain' and lane.gate ~= 'open' then
    if lane.available == 0 and in_carts == 0 then
      return 'short 0 0'
    end
    return 'join_first'
  end

  local granted = quantity
  local left = lane.shopper_limit - (bought[shopper] or 0)
  local device_left = lane.device_limit - (devices[device] or 0)
  local free = claim and claim.quantity or lane.available
  if partial then
    granted = math.min(granted, math.max(left, 0), math.max(device_left, 0), free)
  end
  if left < 1 or granted > left then
    return 'limit ' .. whole(math.max(left, 0))
  end
  if device_left < 1 or granted > device_left then
    return 'device_limit ' .. whole(math.max(device_left, 0))
  end
  if free < 1 or granted > free then
    return 'short ' .. whole(free) .. ' ' .. whole(in_carts)
  end

  if record and record.state == 'claim' then -- also an overdue one: its record ends here
    lane.claimed = lane.claimed - record.quantity
    lane.available = lane.available + record.quantity
  end
  lane.available = lane.available - granted
  lane.held = lane.held + granted
  devices[device] = (devices[device] or 0) + granted
  count(device_change, device, granted)
  records[shopper] = {
    state = 'held', quantity = granted, till = now + lane.hold_ms, asked = asked, command = command,
    device = device, order = '-', held_till = now + lane.hold_ms,
  }
  changed[shopper] = true
  reservations = reservations + 1
  return table.concat({ 'ok', whole(granted), whole(now + lane.hold_ms), 'held' }, ' ')
end

local answers = { whole(now) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = reserve(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
if next(changed) then
  write_records(holds, deadlines, records, changed)
  add_units(devices_key, device_change)
  write_counters(stock, lane)
  redis.call('HINCRBY', stock, 'reservations', reservations)
end
return answers
