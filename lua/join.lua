-- join: give shoppers their place in line: server time in µs, made strictly increasing; or, before the start of a sale that
-- opens in shuffled order, the place that the sale's seed gives them.
-- KEYS: sale, queue, admitting, devices, wants, priority, parked, absent, journal
-- ARGV: per item: shopper, device, mark (of the device, short), quantity, old place, opening place, line
--   old place: one that was given before and is lost here; 0: a new one. Opening place: by the sale's seed; 0: the sale opens
--   in the order of joining. Line: "queue" or "priority"
-- Returns: now_ms, "admitted priority_admitted", then per item one of
--   "ok position place line stamp"   waiting (again: the same place); the position of an old place is not exact, nor that of
--                                    an opening place; the stamp is the time of joining, or 0 if not known
--   "admitting"                      being called at this moment
--   "other_quantity quantity"        in line already, for another quantity
--   "device_in_line"                 the device stands in line for somebody else
--   "busy"                           so much is to be written to Postgres that nobody new may come now
--   "ended"   "room_closed room_opens_at"   "missing" (the sale is not open in Redis)
-- Atomic because a place is given once, and a device stands once.
local sale_key, queue, admitting, devices, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local priority, parked, absent, journal = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local ITEM = 7

local function column(first)
  local names = {}
  for i = first, #ARGV, ITEM do
    names[#names + 1] = ARGV[i]
  end
  return names
end

local time = now_us()
local now = math.floor(time / 1000)
local sale = redis.call('HMGET', sale_key, 'phase', 'room_opens_at', 'starts_at', 'ends_at', 'lanes', 'last_place',
  'admitted', 'priority_admitted')
local phase, room_opens_at, starts_at, ends_at = sale[1], tonumber(sale[2]), tonumber(sale[3]), tonumber(sale[4])
-- With several lanes a device belongs to one shopper for the whole sale: no lane alone could count its units.
local device_is_bound = tonumber(sale[5] or 1) > 1
local last_place = tonumber(sale[6] or 0)

local shoppers = column(1)
local marks = column(3)
welcome_back({ queue = queue, priority = priority, parked = parked, absent = absent, wants = wants }, shoppers)
local places = { queue = scores(queue, shoppers), priority = scores(priority, shoppers) }
local called = scores(admitting, shoppers)
local owners = redis.call('HMGET', devices, unpack(marks))
local journal_is_full = is_journal_full(journal)
local ahead = being_called(admitting, wants)
local length = { queue = ahead.queue + redis.call('ZCARD', queue), priority = ahead.priority + redis.call('ZCARD', priority) }
local joined, owner_now, wants_now = {}, {}, {}
local new_places, new_devices, new_wants, lines = { queue = {}, priority = {} }, {}, {}, {}

local function stands(shopper)
  if joined[shopper] then
    return true
  end
  for _, key in ipairs({ queue, priority, admitting, parked }) do
    if redis.call('ZSCORE', key, shopper) then
      return true
    end
  end
  return false
end

local function join(i, shopper, device, mark, quantity, old_place, opening_place, line)
  if not phase then
    return 'missing'
  end
  if phase == 'drawing' or phase == 'ended' or phase == 'cancelled' or now >= ends_at then
    return 'ended'
  end
  if called[i] then
    return 'admitting'
  end
  local standing = (places.queue[i] and 'queue') or (places.priority[i] and 'priority')
  if standing or joined[shopper] then
    local wanted = wants_now[shopper] or read_want(redis.call('HGET', wants, shopper))
    if wanted ~= quantity then
      return 'other_quantity ' .. whole(wanted)
    end
    if joined[shopper] then
      return joined[shopper]
    end
    local rank = redis.call('ZRANK', standing == 'queue' and queue or priority, shopper)
    return string.format('ok %d %d %s 0', ahead[standing] + rank + 1, tonumber(places[standing][i]), standing)
  end
  if now < room_opens_at then
    return 'room_closed ' .. whole(room_opens_at)
  end
  if journal_is_full and old_place == 0 then
    return 'busy'
  end
  local owner = owner_now[mark] or owners[i]
  if owner and owner ~= shopper and (device_is_bound or stands(owner)) then
    return 'device_in_line'
  end

  -- The stamp counts joins, whatever their places are: opening the gate asks for it. Whoever comes back to an old place has
  -- one too, or a look at the line from before could open the gate over their head.
  last_place = math.max(last_place + 1, time)
  local place, stamp, note = last_place, last_place, 'joined'
  if old_place > 0 then
    -- Noted as well: what was noted of them before may be lost with their place.
    place, note = old_place, 'restored'
  elseif opening_place > 0 and now < starts_at then
    place = opening_place
  end
  lines[#lines + 1] = string.format('%s %s %s %d %d %d %s', note, shopper, device, quantity, place, stamp, line)
  length[line] = length[line] + 1
  local new = new_places[line]
  new[#new + 1] = whole(place)
  new[#new + 1] = shopper
  owner_now[mark] = shopper
  new_devices[#new_devices + 1] = mark
  new_devices[#new_devices + 1] = shopper
  wants_now[shopper] = quantity
  if quantity ~= 1 or line == 'priority' then
    new_wants[#new_wants + 1] = shopper
    new_wants[#new_wants + 1] = format_want(quantity, line == 'priority', false)
  end
  joined[shopper] = string.format('ok %d %d %s %d', length[line], place, line, stamp)
  return joined[shopper]
end

local answers = { whole(now), (sale[7] or '0') .. ' ' .. (sale[8] or '0') }
local i = 0
for at = 1, #ARGV, ITEM do
  i = i + 1
  answers[#answers + 1] = join(i, ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
    tonumber(ARGV[at + 5]), ARGV[at + 6])
end
if #new_places.queue > 0 then
  redis.call('ZADD', queue, unpack(new_places.queue))
end
if #new_places.priority > 0 then
  redis.call('ZADD', priority, unpack(new_places.priority))
end
if #new_devices > 0 then
  redis.call('HSET', devices, unpack(new_devices))
  redis.call('HSET', sale_key, 'last_place', whole(last_place))
end
if #new_wants > 0 then
  redis.call('HSET', wants, unpack(new_wants))
end
write_journal(journal, lines)
return answers
