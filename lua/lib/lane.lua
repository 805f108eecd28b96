-- What the lane scripts share: reading a lane, its shoppers' records, and writing both back at the end.
--
-- A record is one shopper's latest claim or hold, kept after it ended so that a late command gets the true answer:
--   "state quantity until asked command device order held_until", with - for what is not there, and 0 for no time.
--   held_until is the hold's own end, kept while a checkout's lease stands in `until`.
--   claim → lapsed | left | held;   held → ordering | released | expired;   ordering → ordered | released | held;
--   ordered → cancelled.

local LANE_FIELDS = {
  'epoch', 'run', 'supply', 'available', 'claimed', 'held', 'ordering', 'sold', 'gate', 'gate_place', 'opens_at', 'closes_at',
  'paused', 'shopper_limit', 'device_limit', 'hold_ms', 'claim_ms',
}

-- Reads the lane's hash; nil and an error reply if the lane is not open, in this life of Redis, under the epoch that
-- the caller believes in.
local function read_lane(stock_key, epoch)
  local values = redis.call('HMGET', stock_key, unpack(LANE_FIELDS))
  if not values[1] then
    return nil, redis.error_reply('LANE_MISSING the lane is not open')
  end
  if values[1] ~= epoch then
    return nil, redis.error_reply('LANE_FENCED the lane lives in epoch ' .. values[1])
  end
  if values[2] ~= this_run() then
    return nil, redis.error_reply('LANE_LOST the lane was opened in another life of Redis')
  end
  local lane = {}
  for i, field in ipairs(LANE_FIELDS) do
    lane[field] = tonumber(values[i]) or values[i] or 0
  end
  return lane
end

local function write_counters(stock_key, lane)
  redis.call('HSET', stock_key, 'available', whole(lane.available), 'claimed', whole(lane.claimed),
    'held', whole(lane.held), 'ordering', whole(lane.ordering), 'sold', whole(lane.sold))
  redis.call('HINCRBY', stock_key, 'version', 1)
end

-- Once per item each, so they count: sets match in half the time that classes take, and one format beats a concat.
local RECORD = '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)$'
local function parse_record(text)
  local state, quantity, till, asked, command, device, order, held_till = string.match(text, RECORD)
  return {
    state = state, quantity = tonumber(quantity), till = tonumber(till), asked = asked, command = command,
    device = device, order = order, held_till = tonumber(held_till),
  }
end

local function format_record(record)
  return string.format('%s %d %d %s %s %s %s %d', record.state, record.quantity, record.till, record.asked, record.command,
    record.device, record.order, record.held_till)
end

-- One HMGET for a whole batch; fields without a value are left out. A name may stand in the batch twice.
local function read_many(key, names, parse)
  local found = {}
  if #names > 0 then
    local values = redis.call('HMGET', key, unpack(names))
    for i, name in ipairs(names) do
      if values[i] then
        found[name] = parse(values[i])
      end
    end
  end
  return found
end

-- Every `width`-th argument from `first` on: the batch's column.
local function column(first, width)
  local names = {}
  for i = first, #ARGV, width do
    names[#names + 1] = ARGV[i]
  end
  return names
end

-- Writes what a batch changed: one HSET and one ZADD / ZREM each, however many items there were.
-- `changed` is a set of shoppers; a record whose deadline still runs stands in the deadlines, any other does not.
local RUNNING = { claim = true, held = true, ordering = true }
local function write_records(holds_key, deadlines_key, records, changed)
  local fields, deadlines, ended = {}, {}, {}
  for shopper in pairs(changed) do
    local record = records[shopper]
    fields[#fields + 1] = shopper
    fields[#fields + 1] = format_record(record)
    if RUNNING[record.state] then
      deadlines[#deadlines + 1] = whole(record.till)
      deadlines[#deadlines + 1] = shopper
    else
      ended[#ended + 1] = shopper
    end
  end
  if #fields > 0 then
    redis.call('HSET', holds_key, unpack(fields))
  end
  if #deadlines > 0 then
    redis.call('ZADD', deadlines_key, unpack(deadlines))
  end
  if #ended > 0 then
    redis.call('ZREM', deadlines_key, unpack(ended))
  end
end

-- Whether a running checkout is the one that its order was made in. Another one under the same order's id is a command that
-- came again when its shopper had a later hold.
local function is_from(record, hold)
  return hold == '-' or record.command == hold
end

-- The checkout was none: the hold is as it was before. Overdue by now? Then the next expiry step ends it as any hold.
local function undo_checkout(lane, record)
  lane.ordering = lane.ordering - record.quantity
  lane.held = lane.held + record.quantity
  record.state, record.order, record.till = 'held', '-', record.held_till
end

-- Adds `units[name]` to each name's number in a hash, in one HMGET, HSET and HDEL each; a number that comes to 0 is
-- dropped.
local function add_units(key, units)
  local names, numbers, zero = {}, {}, {}
  for name in pairs(units) do
    names[#names + 1] = name
  end
  local known = read_many(key, names, tonumber)
  for _, name in ipairs(names) do
    local number = (known[name] or 0) + units[name]
    if number > 0 then
      numbers[#numbers + 1] = name
      numbers[#numbers + 1] = whole(number)
    else
      zero[#zero + 1] = name
    end
  end
  if #numbers > 0 then
    redis.call('HSET', key, unpack(numbers))
  end
  if #zero > 0 then
    redis.call('HDEL', key, unpack(zero))
  end
end

local function count(units, name, delta)
  units[name] = (units[name] or 0) + delta
end
