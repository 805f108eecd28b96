-- release: give back held units, or a claim.
-- KEYS: stock, holds, deadlines, device_units, seen
-- ARGV: epoch, then per item: shopper, what ("held" | "claim" | "nothing": only the answer of before), trace
-- Returns: now_ms, then per item "ok quantity", or the record's state, or "none". If it was done before and nothing was done now:
--   "ok quantity again", or, if newer commands have come since, "ok quantity over"; "reused": the command id was used with
--   other contents; "superseded": an old command came again.
-- Atomic because the units must leave the cart and become free in one step.
local stock, holds, deadlines, devices_key, seen_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]
local ITEM = 3
local ENDED = { held = 'released', claim = 'left' }

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
read_records(holds, column(2, ITEM))
read_seen(seen_key, column(4, ITEM))
local device_change = {}
local RELEASED = '+'

local function release(shopper, what, trace)
  local state, quantity, till, bought, order, origin = parse_record(records[shopper])
  local word, answer = seen_before(trace, LANE_SEEN)
  if word == 'same' then
    local code, number = read_lane_seen(answer)
    if code ~= RELEASED then
      return SEEN_STATES[code]
    end
    return 'ok ' .. number .. ((state == 'released' or state == 'left') and ' again' or ' over')
  elseif word and word ~= 'full' then
    return word
  end
  if what == 'nothing' then
    return 'superseded'
  end
  if state ~= what and state ~= ENDED[what] then
    if state ~= 'ordering' then -- that has no answer yet: asked again, it may have one
      note_seen(trace, LANE_SEEN, SEEN_CODES[state] .. seen_number(quantity) .. NO_TIME)
    end
    return state
  end
  note_seen(trace, LANE_SEEN, RELEASED .. seen_number(quantity) .. NO_TIME)
  if state ~= what then
    return 'ok ' .. quantity .. ' again'
  end
  lane.available = lane.available + quantity
  if what == 'held' then
    local _, device = parse_origin(origin)
    change_seen(trace, LANE_SEEN, TAKEN, SEEN_CODES.released)
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
  answers[#answers + 1] = release(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
if write_records(holds, deadlines) then
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
write_seen(seen_key)
return answers
