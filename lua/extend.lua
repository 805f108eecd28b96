-- extend: give shoppers' claims or holds their time once more.
-- KEYS: stock, holds, deadlines, seen
-- ARGV: epoch, then per item: shopper, wait ("nobody" | "others" wait for units), trace
-- Returns: now_ms, then per item one of
--   "ok state quantity until command"   (of the claim or hold as it is now, also for the same command again; the command that
--                                        made the hold, "-" for a claim)
--   "extended"                          it was, by another command
--   "reused"  "superseded"  "too_many"  as for a reserve
--   "others"                            somebody waits for units
--   "stopped"  "paused"  "ended"        the sale's
--   the record's state, or "none"       there is nothing to extend
-- Atomic because a deadline must not move while what is overdue is ended.
local stock, holds, deadlines, seen_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch = ARGV[1]
local ITEM = 3

local lane, failure = read_lane(stock, epoch, 'closes_at', 'paused', 'hold_ms', 'claim_ms', 'stopped')
if not lane then
  return failure
end
local now = now_ms()
read_records(holds, column(2, ITEM))
read_seen(seen_key, column(4, ITEM))
local GRANTED, NOT_AGAIN = 'E', 'B'

local function told(state, quantity, till, origin)
  return 'ok ' .. state .. ' ' .. quantity .. ' ' .. till .. ' ' .. string.match(origin, '^[^ ]+')
end

local function extend(shopper, wait, trace)
  local state, quantity, till, bought, order, origin = parse_record(records[shopper])
  local command, device, asked, held_till = parse_origin(origin)
  local is_hold = origin ~= NOTHING
  local own_till = is_hold and held_till or till
  local word, answer = seen_before(trace, LANE_SEEN)
  if word == 'same' then
    local code, _, granted_till = read_lane_seen(answer)
    if code == NOT_AGAIN then
      return 'extended'
    elseif code ~= GRANTED then
      return SEEN_STATES[code]
    end
    return own_till == granted_till and told(state, quantity, till, origin) or 'superseded'
  elseif word then
    return word == 'full' and 'too_many' or word
  end
  if state ~= 'claim' and state ~= 'held' then
    if state ~= 'ordering' then -- that has no answer yet: asked again, it may have one
      note_seen(trace, LANE_SEEN, SEEN_CODES[state] .. seen_number(quantity) .. NO_TIME)
    end
    return state
  end
  if tonumber(till) <= now then
    return state == 'claim' and 'lapsed' or 'expired' -- ended within one expiry step
  end
  if order == EXTENDED then
    note_seen(trace, LANE_SEEN, NOT_AGAIN .. seen_number(quantity) .. NO_TIME)
    return 'extended'
  end
  if wait == 'others' then
    return 'others'
  end
  if lane.stopped == 1 then
    return 'stopped'
  end
  if now >= lane.closes_at then
    return 'ended'
  end
  if lane.paused == 1 then
    return 'paused'
  end
  till = whole(tonumber(till) + (is_hold and lane.hold_ms or lane.claim_ms))
  if is_hold then
    origin = command .. ' ' .. device .. ' ' .. asked .. ' ' .. till
  end
  set_record(shopper, state, quantity, till, bought, EXTENDED, origin)
  note_seen(trace, LANE_SEEN, GRANTED .. seen_number(quantity) .. till)
  return told(state, quantity, till, origin)
end

local answers = { whole(now) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = extend(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
if write_records(holds, deadlines) then
  write_counters(stock, lane)
end
write_seen(seen_key)
return answers
