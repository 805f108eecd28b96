-- expire: end what is overdue. Claims lapse, holds expire, and their units become free. A checkout past its lease is only
-- reported, because Postgres alone knows how it ended.
-- KEYS: stock, holds, deadlines, device_units
-- ARGV: epoch, most (items a call, and up to a few buckets more), lease_ms (an overdue checkout is reported again after
--   that)
-- Returns: now_ms, "more" (there may be others, call again) or "all", then per item "lapsed shopper quantity",
--   "expired shopper quantity" or "overdue shopper quantity device order".
-- Atomic because an overdue hold must not be checked out at the same time.
local stock, holds, deadlines, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, most, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local PAGE = 8

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local now = now_ms()
local lease_till = whole(now + lease_ms)

local due, shoppers = {}, {}
local page
repeat
  page = redis.call('ZRANGEBYSCORE', deadlines, '-inf', whole(now), 'LIMIT', #due, PAGE)
  for _, bucket in ipairs(page) do
    due[#due + 1] = bucket
    for shopper in string.gmatch(bucket, '[^ ]+') do
      shoppers[#shoppers + 1] = shopper
    end
  end
until #page < PAGE or #shoppers >= most
local answers = { whole(now), #page < PAGE and 'all' or 'more' }
if #due == 0 then
  return answers
end
read_records(holds, shoppers)
local device_change = {}

local function end_overdue(shopper)
  local record = records[shopper]
  if not RUNNING[string.match(record, '^[^ ]+')] then
    return nil -- it has ended, as most have by now: looked at no further
  end
  local state, quantity, till, bought, order, origin = parse_record(record)
  if tonumber(till) > now then
    return nil -- it stands in a later bucket as well
  end
  local _, device = parse_origin(origin)
  if state == 'ordering' then
    set_record(shopper, state, quantity, lease_till, bought, order, origin)
    return 'overdue ' .. shopper .. ' ' .. quantity .. ' ' .. device .. ' ' .. order
  end
  lane.available = lane.available + quantity
  if state == 'claim' then
    lane.claimed = lane.claimed - quantity
    state = 'lapsed'
  else
    lane.held = lane.held - quantity
    lane.expired = lane.expired + 1
    count(device_change, device, -quantity)
    state = 'expired'
  end
  set_record(shopper, state, quantity, till, bought, order, origin)
  return state .. ' ' .. shopper .. ' ' .. quantity
end

for _, shopper in ipairs(shoppers) do
  answers[#answers + 1] = end_overdue(shopper)
end
-- This comes first, because a checkout's new bucket may have the name of its old one.
redis.call('ZREM', deadlines, unpack(due))
if write_records(holds, deadlines) then
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
return answers
