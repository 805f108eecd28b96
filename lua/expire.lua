-- expire: end what is overdue. Claims lapse, holds expire, and both become free; a checkout past its lease is only
-- reported, because Postgres alone knows how it ended.
-- KEYS: stock, holds, deadlines, device_units
-- ARGV: epoch, most (items a call), lease_ms (an overdue checkout is reported again after that)
-- Returns: now_ms, then per item "lapsed shopper quantity", "expired shopper quantity" or
--   "overdue shopper quantity device order".
-- Atomic because an overdue hold must not be checked out at the same time.
local stock, holds, deadlines, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, most, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local now = now_ms()
local answers = { whole(now) }
local overdue = redis.call('ZRANGEBYSCORE', deadlines, '-inf', whole(now), 'LIMIT', 0, most)
if #overdue == 0 then
  return answers
end
local records = read_many(holds, overdue, parse_record)
local changed, device_change, expired = {}, {}, 0

for _, shopper in ipairs(overdue) do
  local record = records[shopper]
  if record.state == 'ordering' then
    record.till = now + lease_ms
    answers[#answers + 1] =
      table.concat({ 'overdue', shopper, whole(record.quantity), record.device, record.order }, ' ')
  else
    lane.available = lane.available + record.quantity
    if record.state == 'claim' then
      lane.claimed = lane.claimed - record.quantity
      record.state = 'lapsed'
    else
      lane.held = lane.held - record.quantity
      count(device_change, record.device, -record.quantity)
      record.state = 'expired'
      expired = expired + 1
    end
    answers[#answers + 1] = table.concat({ record.state, shopper, whole(record.quantity) }, ' ')
  end
  changed[shopper] = true
end
write_records(holds, deadlines, records, changed)
add_units(devices_key, device_change)
write_counters(stock, lane)
redis.call('HINCRBY', stock, 'expired', expired)
return answers
