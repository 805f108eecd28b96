-- Shared by the lane scripts: reading a lane and its shoppers' records, and writing both back at the end.
--
-- A record is what the lane knows of one shopper: their units in orders, and their latest claim or hold, kept after it
-- ended so that a late command gets the true answer:
--   "state quantity until bought order", and then what the hold was made from, as it stays until its end,
--   "command device asked held_until"; with - for what is not there, and 0 for no time.
--   held_until is the hold's own end, kept while a checkout's lease stands in `until`.
--   claim → lapsed | left | held;   held → ordering | released | expired;   ordering → ordered | released | held;
--   ordered → cancelled;   none: no claim or hold that the lane knows of. A shopper without a record is the same.
-- The order of a claim or hold whose time was extended is EXTENDED, until there is an order.
--
-- The deadlines are a set of buckets. A bucket has the names of shoppers whose records got the same deadline in one call. A
-- running record is in a bucket of its deadline. A record that has ended, or has another deadline by now, stays there and is
-- skipped when the bucket is due. So the set has as many names as there were reservations, claims and checkouts within the
-- longest deadline, however short they were.

-- Each key of a lane except the stock has a permanent member, so that the key always exists. If it does not, it was lost, and its
-- content is not guessed. In `holds` and `deadlines` this member is a claim of no units that never ends. Lanes opened by an
-- earlier release have no such members until a leader adds them: `kept` in the stock is the epoch in which that was done.

-- `stopped` in the stock is 1 while Postgres is behind Redis: nothing is sold until an operator has confirmed it, and the lane
-- begins a new life.

-- Keys at the end of a script's KEYS whose loss is harmless: the recent answers (lib/lane_seen.lua).
local unkept = 0

local COUNTERS = { 'available', 'claimed', 'held', 'ordering', 'sold', 'reservations', 'expired' }

-- Reads the lane's counters and the named settings. Returns nil and an error reply unless the lane is open, in this life of
-- Redis, and under the caller's epoch.
local function read_lane(stock_key, epoch, ...)
  local fields = { 'epoch', 'run', 'kept', unpack(COUNTERS) }
  for _, setting in ipairs({ ... }) do
    fields[#fields + 1] = setting
  end
  local values = redis.call('HMGET', stock_key, unpack(fields))
  if not values[1] then
    return nil, redis.error_reply('LANE_MISSING the lane is not open')
  end
  if values[1] ~= epoch then
    return nil, redis.error_reply('LANE_FENCED the lane lives in epoch ' .. values[1])
  end
  if values[2] ~= this_run() then
    return nil, redis.error_reply('LANE_LOST the lane was opened in another life of Redis')
  end
  local last = #KEYS - unkept
  if values[3] == epoch and last > 1 and redis.call('EXISTS', unpack(KEYS, 2, last)) < last - 1 then
    return nil, redis.error_reply('LANE_LOST a part of the lane is gone')
  end
  local lane = {}
  for i = 4, #fields do
    lane[fields[i]] = tonumber(values[i]) or values[i] or 0
  end
  return lane
end

local function write_counters(stock_key, lane)
  local fields = {}
  for i, counter in ipairs(COUNTERS) do
    fields[2 * i - 1], fields[2 * i] = counter, whole(lane[counter])
  end
  redis.call('HSET', stock_key, unpack(fields))
end

-- Every `width`-th argument from `first` on: one column of the batch.
local function column(first, width)
  local names = {}
  for i = first, #ARGV, width do
    names[#names + 1] = ARGV[i]
  end
  return names
end

-- Splits a record: state, quantity, until, bought, order, and as one piece the source of the hold. All are texts, because values
-- that are only written back need not become numbers. Sets match in half the time of classes.
local RECORD = '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) (.+)$'
local NOTHING = '- - - 0'
local EXTENDED = '+'
local NO_RECORD = 'none 0 0 0 - ' .. NOTHING
local function parse_record(record)
  if record == NO_RECORD then
    return 'none', '0', '0', '0', '-', NOTHING
  end
  return string.match(record, RECORD)
end

-- The command, the device, the requested quantity, and the hold's own end.
local function parse_origin(origin)
  return string.match(origin, '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)$')
end

local function append(list, name, value)
  local count = #list
  list[count + 1], list[count + 2] = name, value
end

-- The batch's records by shopper, and for the end: the written records, and the deadlines of the running ones. A shopper may be
-- in a batch twice; the last record counts.
local records, written, deadline_of = {}, {}, {}

local function read_records(holds_key, shoppers)
  local values = redis.call('HMGET', holds_key, unpack(shoppers))
  for i = 1, #shoppers do
    records[shoppers[i]] = values[i] or NO_RECORD
  end
end

local RUNNING = { claim = true, held = true, ordering = true }
local function set_record(shopper, state, quantity, till, bought, order, origin)
  local record = state .. ' ' .. quantity .. ' ' .. till .. ' ' .. bought .. ' ' .. order .. ' ' .. origin
  records[shopper] = record
  append(written, shopper, record)
  deadline_of[shopper] = RUNNING[state] and till or nil
end

-- A new hold's record, in one concatenation.
local function set_hold(shopper, quantity, till, bought, command, device, asked)
  local record = 'held ' .. quantity .. ' ' .. till .. ' ' .. bought .. ' - '
    .. command .. ' ' .. device .. ' ' .. asked .. ' ' .. till
  records[shopper] = record
  append(written, shopper, record)
  deadline_of[shopper] = till
end

-- One HSET and one ZADD for any number of items. False: nothing has changed.
local BUCKET = 64
local function write_records(holds_key, deadlines_key)
  if #written == 0 then
    return false
  end
  redis.call('HSET', holds_key, unpack(written))
  local due, buckets = {}, {}
  for shopper, till in pairs(deadline_of) do
    local shoppers = due[till]
    if shoppers then
      shoppers[#shoppers + 1] = shopper
    else
      due[till] = { shopper }
    end
  end
  for till, shoppers in pairs(due) do
    for first = 1, #shoppers, BUCKET do
      append(buckets, till, table.concat(shoppers, ' ', first, math.min(first + BUCKET - 1, #shoppers)))
    end
  end
  if #buckets > 0 then
    redis.call('ZADD', deadlines_key, unpack(buckets))
  end
  return true
end

-- Whether a running checkout is the one that made its order. If not, the command was repeated when its shopper had a later hold.
local function is_from(origin, hold)
  return hold == '-' or string.match(origin, '^[^ ]+') == hold
end

-- It was no checkout, so the hold is as it was before. If it is overdue by now, the next expiry step ends it like any hold.
local function undo_checkout(lane, shopper, quantity, bought, origin)
  local _, _, _, held_till = parse_origin(origin)
  lane.ordering = lane.ordering - quantity
  lane.held = lane.held + quantity
  set_record(shopper, 'held', quantity, held_till, bought, '-', origin)
end

-- The units of devices, in one HMGET.
local function read_units(key, devices)
  local values = redis.call('HMGET', key, unpack(devices))
  local units = {}
  for i = 1, #devices do
    units[devices[i]] = tonumber(values[i] or 0)
  end
  return units
end

-- Adds `changes[device]` to each device's units; a device without units is removed.
local function add_units(key, changes)
  local devices = {}
  for device in pairs(changes) do
    devices[#devices + 1] = device
  end
  if #devices == 0 then
    return
  end
  local units = read_units(key, devices)
  local written, without = {}, {}
  for device, change in pairs(changes) do
    local left = units[device] + change
    if left > 0 then
      append(written, device, whole(left))
    else
      without[#without + 1] = device
    end
  end
  if #written > 0 then
    redis.call('HSET', key, unpack(written))
  end
  if #without > 0 then
    redis.call('HDEL', key, unpack(without))
  end
end

local function count(units, name, delta)
  units[name] = (units[name] or 0) + delta
end
