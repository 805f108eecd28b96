-- claim: set units aside for shoppers whose turn it is.
-- KEYS: stock, holds, deadlines, bought
-- ARGV: epoch, then per item: shopper, wanted
-- Returns: now_ms, then per item "ok quantity until" (fewer than wanted when fewer are left; again: the same claim),
--   "has_hold", "limit", "short", or "shut" (paused, not open, over).
-- Atomic because a unit must not be set aside twice. May be repeated.
local stock, holds, deadlines, bought_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch = ARGV[1]
local ITEM = 2

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local now = now_ms()
local records = read_many(holds, column(2, ITEM), parse_record)
local bought = read_many(bought_key, column(2, ITEM), tonumber)
local shut = lane.paused == 1 or now < lane.opens_at or now >= lane.closes_at
local changed = {}

local function claim(shopper, wanted)
  local record = records[shopper]
  if record and (record.state == 'claim' or record.state == 'held') and record.till <= now then
    return 'short' -- overdue: its units come back within one expiry step
  end
  if record and record.state == 'claim' then
    return 'ok ' .. whole(record.quantity) .. ' ' .. whole(record.till)
  end
  if record and RUNNING[record.state] then
    return 'has_hold'
  end
  if shut then
    return 'shut'
  end
  local left = lane.shopper_limit - (bought[shopper] or 0)
  if left < 1 then
    return 'limit'
  end
  local granted = math.min(wanted, left, lane.available)
  if granted < 1 then
    return 'short'
  end
  lane.available = lane.available - granted
  lane.claimed = lane.claimed + granted
  records[shopper] = {
    state = 'claim', quantity = granted, till = now + lane.claim_ms, asked = '-', command = '-', device = '-',
    order = '-', held_till = 0,
  }
  changed[shopper] = true
  return 'ok ' .. whole(granted) .. ' ' .. whole(now + lane.claim_ms)
end

local answers = { whole(now) }
for i = 2, #ARGV, ITEM do
  answers[#answers + 1] = claim(ARGV[i], tonumber(ARGV[i + 1]))
end
if next(changed) then
  write_records(holds, deadlines, records, changed)
  write_counters(stock, lane)
end
return answers
