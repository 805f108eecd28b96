-- claim: set units aside for shoppers whose turn it is.
-- KEYS: stock, holds, deadlines, drawn, seen
-- ARGV: epoch, by ("line", or "draw": each shopper has one turn), then per item: shopper, wanted
-- Returns: now_ms, then per item "ok quantity until" (fewer than wanted if fewer are left; a repetition gets the same claim),
--   "has_hold", "had_turn" (of a draw; it has ended), "limit", "short", or "shut" (paused, stopped, not open, ended).
-- Atomic because a unit must not be set aside twice. May be repeated.
local stock, holds, deadlines, drawn, seen_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, by = ARGV[1], ARGV[2]
local ITEM = 2

local lane, failure = read_lane(stock, epoch, 'opens_at', 'closes_at', 'paused', 'shopper_limit', 'claim_ms', 'stopped')
if not lane then
  return failure
end
local now = now_ms()
local claim_till = whole(now + lane.claim_ms)
local shut = lane.paused == 1 or lane.stopped == 1 or now < lane.opens_at or now >= lane.closes_at
local shoppers = column(3, ITEM)
read_records(holds, shoppers)
read_seen(seen_key, {})
-- Noted with the claim itself, because the caller may die, or be late, before it is noted anywhere else.
local had_turn, has_turn_now = {}, {}
if by == 'draw' then
  for i, is_in in ipairs(redis.call('SMISMEMBER', drawn, unpack(shoppers))) do
    had_turn[shoppers[i]] = is_in == 1
  end
end

local function claim(shopper, wanted)
  local state, quantity, till, bought, _, origin = parse_record(records[shopper])
  if (state == 'claim' or state == 'held') and tonumber(till) <= now then
    return 'short' -- overdue: its units come back within one expiry step
  end
  if state == 'claim' then
    return 'ok ' .. quantity .. ' ' .. till
  end
  if RUNNING[state] then
    return 'has_hold'
  end
  if had_turn[shopper] then
    return 'had_turn'
  end
  if shut then
    return 'shut'
  end
  local left = lane.shopper_limit - bought
  if left < 1 then
    return 'limit'
  end
  local granted = math.min(wanted, left, lane.available)
  if granted < 1 then
    return 'short'
  end
  lane.available = lane.available - granted
  lane.claimed = lane.claimed + granted
  if by == 'draw' then
    has_turn_now[#has_turn_now + 1] = shopper
  end
  note_last_hold(shopper, state, quantity, origin)
  set_record(shopper, 'claim', whole(granted), claim_till, bought, '-', NOTHING)
  return 'ok ' .. whole(granted) .. ' ' .. claim_till
end

local answers = { whole(now) }
for i = 3, #ARGV, ITEM do
  answers[#answers + 1] = claim(ARGV[i], tonumber(ARGV[i + 1]))
end
if #has_turn_now > 0 then
  redis.call('SADD', drawn, unpack(has_turn_now))
end
if write_records(holds, deadlines) then
  write_counters(stock, lane)
end
write_seen(seen_key)
return answers
