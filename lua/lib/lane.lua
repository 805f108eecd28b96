-- What the lane scripts share: reading a lane, its shoppers' records, and writing both back at the end.
--
-- A record is what the lane knows of one shopper: their units in orders, and their latest claim or hold, kept after it
-- ended so that a late command gets the true answer:
--   "state quantity until bought order", and then what the hold was made from, as it stays until its end,
--   "command device asked held_until"; with - for what is not there, and 0 for no time.
--   held_until is the hold's own end, kept while a checkout's lease stands in `until`.
--   claim → lapsed | left | held;   held → ordering | released | expired;   ordering → ordered | released | held;
--   ordered → cancelled;   none: no claim or hold that the lane knows of. A shopper without a record is the same.
--
-- The deadlines are a set of buckets: the names of shoppers whose records got the same deadline in one call. A record that
-- runs stands in a bucket of its deadline; one that has ended, or has another deadline by now, is not taken out but passed
-- over when the bucket is due. So the set has as many names as there were reservations, claims and checkouts within the
-- longest deadline, however short-lived they were.

-- Each key of a lane but the stock has a member that stays, so that it is always there: one that is not was lost, and what it
-- knew is not guessed. In `holds` and `deadlines` it is a claim of no units that never ends.
-- Lanes that were opened by an earlier release have none, until a leader gives them theirs: `kept` in the stock is the epoch
-- in which that was done.

-- `stopped` in the stock is 1 while Postgres is behind what Redis knows: nothing is sold until an operator has confirmed it, and the
-- lane begins a new life.

-- The last KEYS of a script that are not missed: what was answered lately (lib/lane_seen.lua).
local unkept = 0

local COUNTERS = { 'available', 'claimed', 'held', 'ordering', 'sold', 'reservations', 'expired' }

-- Reads the lane's counters and those of its settings that are named; nil and an error reply if the lane is not open, in
-- this life of Redis, under the epoch that the caller believes in.
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

-- Every `width`-th argument from `first` on: the batch's column.
local function column(first, width)
  local names = {}
  for i = first, #ARGV, width do
    names[#names + 1] = ARGV[i]
  end
  return names
end

-- Takes a record apart: state, quantity, until, bought, order, and in one piece what the hold was made from. All are texts:
-- what is only written back need not become a number. Sets match in half the time that classes take.
local RECORD = '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) (.+)$'
local NOTHING = '- - - 0'
local NO_RECORD = 'none 0 0 0 - ' .. NOTHING
local function parse_record(record)
  if record == NO_RECORD then
    return 'none', '0', '0', '0', '-', NOTHING
  end
  return string.match(record, RECORD)
end

-- The command, the device, what was asked for, and the hold's own end.
local function parse_origin(origin)
  return string.match(origin, '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)$')
end

local function append(list, name, value)
  local count = #list
  list[count + 1], list[count + 2] = name, value
end

-- The batch's records, by shopper, and for the end: what was written to them, and the deadlines of those that run. A
-- shopper may stand in a batch twice; the last record counts.
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

-- A new hold's record, in one concat.
local function set_hold(shopper, quantity, till, bought, command, device, asked)
  local record = 'held ' .. quantity .. ' ' .. till .. ' ' .. bought .. ' - '
    .. command .. ' ' .. device .. ' ' .. asked .. ' ' .. till
  records[shopper] = record
  append(written, shopper, record)
  deadline_of[shopper] = till
end

-- One HSET and one ZADD, however many items there were. False: nothing has changed.
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

-- Whether a running checkout is the one that its order was made in. Another one under the same order's id is a command that
-- came again when its shopper had a later hold.
local function is_from(origin, hold)
  return hold == '-' or string.match(origin, '^[^ ]+') == hold
end

-- The checkout was none: the hold is as it was before. Overdue by now? Then the next expiry step ends it as any hold.
local function undo_checkout(lane, shopper, quantity, bought, origin)
  local _, _, _, held_till = parse_origin(origin)
  lane.ordering = lane.ordering - quantity
  lane.held = lane.held + quantity
  set_record(shopper, 'held', quantity, held_till, bought, '-', origin)
end

-- Units by device, with one HMGET.
local function read_units(key, devices)
  local values = redis.call('HMGET', key, unpack(devices))
  local units = {}
  for i = 1, #devices do
    units[devices[i]] = tonumber(values[i] or 0)
  end
  return units
end

-- Adds `changes[device]` to each device's units; a device that has none left is not kept.
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
