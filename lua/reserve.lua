-- reserve: put units into shoppers' carts; from their claim, or freely while the gate is open.
-- KEYS: stock, holds, deadlines, device_units, seen
-- ARGV: epoch, then per item: shopper, quantity, how, command, device, trace
--   how: "all" units or none; "partial": fewer when fewer are free; "regain": a hold that was lost with its lane, all or
--   none, whatever the gate
-- Returns: now_ms, then per item one of
--   "ok quantity until state"        held (or the same answer again; the state is how that hold has ended since)
--   "reused"                         the command id was used with other contents
--   "superseded"                     an old command again: nothing is done
--   "too_many"                       the shopper has changed their mind too often
--   "already_held quantity"  "checkout_running"  "stopped"  "paused"  "not_open opens_at"  "ended"  "join_first"
--   "limit left"  "device_limit left"   "short available in_carts"
-- Atomic because checking and taking must be one step: this is where overselling would happen.
local stock, holds, deadlines, devices_key, seen_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]
local ITEM = 6

local lane, failure = read_lane(stock, epoch, 'gate', 'opens_at', 'closes_at', 'paused', 'shopper_limit',
  'device_limit', 'hold_ms', 'leaving', 'stopped')
if not lane then
  return failure
end
local now = now_ms()
read_records(holds, column(2, ITEM))
local devices, devices_written = read_units(devices_key, column(6, ITEM)), {}
read_seen(seen_key, column(7, ITEM))
local hold_till = whole(now + lane.hold_ms)

local REFUSED = { A = 'already_held', L = 'limit', D = 'device_limit' }

local function ok(quantity, till, state)
  return 'ok ' .. quantity .. ' ' .. till .. ' ' .. state
end

local function refused(trace, code, number)
  note_seen(trace, LANE_SEEN, code .. seen_number(number) .. NO_TIME)
end

-- The earlier answer to a command. While its hold may still be the shopper's latest, the record knows more.
local function again(answer, state, units, till, bought, origin)
  local code, number, held_till = read_lane_seen(answer)
  if REFUSED[code] then
    return REFUSED[code] .. ' ' .. number
  end
  if code ~= TAKEN then
    return ok(number, held_till, SEEN_STATES[code])
  end
  if origin ~= NOTHING then
    return ok(units, till, state)
  end
  -- Its record made room for a claim, or was lost.
  return ok(number, held_till, bought ~= '0' and tonumber(held_till) > now and 'ordered' or 'expired')
end

local function reserve(shopper, quantity, how, command, device, trace)
  local partial = how == 'partial'
  local asked = partial and quantity .. 'p' or quantity
  local state, units, till, bought, _, origin = parse_record(records[shopper])
  local made_by, asked_then, _
  if origin ~= NOTHING then
    made_by, _, asked_then = parse_origin(origin)
    if made_by == command then
      return asked_then == asked and ok(units, till, state) or 'reused'
    end
  end
  local word, answer = seen_before(trace, LANE_SEEN)
  if word == 'same' then
    return again(answer, state, units, till, bought, origin)
  elseif word then
    return word == 'full' and 'too_many' or word
  end
  if made_by and state == 'held' and tonumber(till) > now then
    if asked_then == asked then
      note_seen(trace, LANE_SEEN, TAKEN .. seen_number(units) .. till)
      return ok(units, till, state)
    end
    refused(trace, 'A', units)
    return 'already_held ' .. units
  end
  if state == 'held' then
    return 'short ' .. whole(lane.available) .. ' 1' -- overdue: its units come back within one expiry step
  end
  if state == 'ordering' then
    return 'checkout_running'
  end
  if lane.stopped == 1 then
    return 'stopped'
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
  local in_carts = lane.claimed + lane.held + lane.ordering + lane.leaving -- what may come back
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
    refused(trace, 'L', left)
    return 'limit ' .. whole(math.max(left, 0))
  end
  if device_left < 1 or granted > device_left then
    refused(trace, 'D', device_left)
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
  note_last_hold(shopper, state, units, origin)
  granted = whole(granted)
  set_hold(shopper, granted, hold_till, bought, command, device, asked)
  return ok(granted, hold_till, 'held')
end

local answers = { whole(now) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = reserve(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
end
if write_records(holds, deadlines) then
  redis.call('HSET', devices_key, unpack(devices_written))
  write_counters(stock, lane)
end
write_seen(seen_key)
return answers
