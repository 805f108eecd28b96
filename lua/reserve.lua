-- reserve: put units into shoppers' carts; from their claim, or freely while the gate is open.
-- KEYS: stock, holds, deadlines, device_units
-- ARGV: epoch, then per item: shopper, quantity, how, command, device
--   how: "all" units or none; "partial": fewer when fewer are free; "regain": a hold that was lost with its lane, all or
--   none, whatever the gate
-- Returns: now_ms, then per item one of
--   "ok quantity until state"        held (or the same answer again)
--   "reused"                         the command id was used with other contents
--   "already_held quantity"  "checkout_running"  "paused"  "not_open opens_at"  "ended"  "join_first"
--   "limit left"  "device_limit left"   "short available in_carts"
-- Atomic because checking and taking must be one step: this is where overselling would happen.
local stock, holds, deadlines, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch = ARGV[1]
local ITEM = 5

local lane, failure = read_lane(stock, epoch, 'gate', 'opens_at', 'closes_at', 'paused', 'shopper_limit',
  'device_limit', 'hold_ms')
if not lane then
  return failure
end
local now = now_ms()
read_records(holds, column(2, ITEM))
local devices, devices_written = read_units(devices_key, column(6, ITEM)), {}
local hold_till = whole(now + lane.hold_ms)

local function ok(quantity, till, state)
  return 'ok ' .. quantity .. ' ' .. till .. ' ' .. state
end

local function reserve(shopper, quantity, how, command, device)
  local partial = how == 'partial'
  local asked = partial and quantity .. 'p' or quantity
  local state, units, till, bought, _, origin = parse_record(records[shopper])
  if origin ~= NOTHING then
    local made_by, _, asked_then = parse_origin(origin)
    if made_by == command then
      return asked_then == asked and ok(units, till, state) or 'reused'
    end
    if state == 'held' and tonumber(till) > now then
      return asked_then == asked and ok(units, till, state) or 'already_held ' .. units
    end
  end
  if state == 'held' then
    return 'short ' .. whole(lane.available) .. ' 1' -- overdue: its units come back within one expiry step
  end
  if state == 'ordering' then
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
  local claimed = state == 'claim' and tonumber(till) > now
  local in_carts = lane.claimed + lane.held + lane.ordering
  if not claimed and how ~= 'regain' and lane.gate ~= 'open' then
    if lane.available == 0 and in_carts == 0 then
      return 'short 0 0'
    end
    return 'join_first'
  end

  local granted = tonumber(quantity)
  local left = lane.shopper_limit - bought
  local device_left = lane.device_limit - devices[device]
  local free = claimed and tonumber(units) or lane.available
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

  if state == 'claim' then -- also an overdue one: its record ends here
    lane.claimed = lane.claimed - units
    lane.available = lane.available + units
  end
  lane.available = lane.available - granted
  lane.held = lane.held + granted
  lane.reservations = lane.reservations + 1
  devices[device] = devices[device] + granted
  append(devices_written, device, whole(devices[device]))
  granted = whole(granted)
  set_hold(shopper, granted, hold_till, bought, command, device, asked)
  return ok(granted, hold_till, 'held')
end

local answers = { whole(now) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = reserve(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
if write_records(holds, deadlines) then
  redis.call('HSET', devices_key, unpack(devices_written))
  write_counters(stock, lane)
end
return answers
