-- join: give shoppers their place in line: server time in µs, made strictly increasing.
-- KEYS: sale, queue, admitting, devices, wants
-- ARGV: per item: shopper, device, quantity, old place (one that was given before and is lost here; 0: a new one)
-- Returns: now_ms, admitted, then per item one of
--   "ok position place"           waiting (again: the same place); the position of an old place is not exact
--   "admitting"                   being called at this moment
--   "other_quantity quantity"     in line already, for another quantity
--   "device_in_line"              the device stands in line for somebody else
--   "ended"   "room_closed room_opens_at"   "missing" (the sale is not open in Redis)
-- Atomic because a place is given once, and a device stands once.
local sale_key, queue, admitting, devices, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ITEM = 4

local function column(first)
  local names = {}
  for i = first, #ARGV, ITEM do
    names[#names + 1] = ARGV[i]
  end
  return names
end

local time = now_us()
local now = math.floor(time / 1000)
local sale = redis.call('HMGET', sale_key, 'phase', 'room_opens_at', 'ends_at', 'lanes', 'last_place', 'admitted')
local phase, room_opens_at, ends_at = sale[1], tonumber(sale[2]), tonumber(sale[3])
-- With several lanes a device belongs to one shopper for the whole sale: no lane alone could count its units.
local device_is_bound = tonumber(sale[4] or 1) > 1
local last_place, admitted = tonumber(sale[5] or 0), tonumber(sale[6] or 0)

local shoppers = column(1)
local device_names = column(2)
local places = redis.call('ZMSCORE', queue, unpack(shoppers))
local called = redis.call('ZMSCORE', admitting, unpack(shoppers))
local owners = redis.call('HMGET', devices, unpack(device_names))
local length = redis.call('ZCARD', queue)
local joined, owner_now, wants_now = {}, {}, {}
local new_places, new_devices, new_wants = {}, {}, {}

local function stands(shopper)
  return joined[shopper] or redis.call('ZSCORE', queue, shopper) or redis.call('ZSCORE', admitting, shopper)
end

local function join(i, shopper, device, quantity, old_place)
  if not phase then
    return 'missing'
  end
  if phase == 'ended' or phase == 'cancelled' or now >= ends_at then
    return 'ended'
  end
  if called[i] then
    return 'admitting'
  end
  if places[i] or joined[shopper] then
    local wanted = wants_now[shopper] or tonumber(redis.call('HGET', wants, shopper) or 1)
    if wanted ~= quantity then
      return 'other_quantity ' .. whole(wanted)
    end
    if joined[shopper] then
      return joined[shopper]
    end
    return 'ok ' .. whole(redis.call('ZRANK', queue, shopper) + 1) .. ' ' .. whole(tonumber(places[i]))
  end
  if now < room_opens_at then
    return 'room_closed ' .. whole(room_opens_at)
  end
  local owner = owner_now[device] or owners[i]
  if owner and owner ~= shopper and (device_is_bound or stands(owner)) then
    return 'device_in_line'
  end

  local place = old_place
  if place == 0 then
    last_place = math.max(last_place + 1, time)
    place = last_place
  end
  length = length + 1
  new_places[#new_places + 1] = whole(place)
  new_places[#new_places + 1] = shopper
  owner_now[device] = shopper
  new_devices[#new_devices + 1] = device
  new_devices[#new_devices + 1] = shopper
  wants_now[shopper] = quantity
  if quantity ~= 1 then
    new_wants[#new_wants + 1] = shopper
    new_wants[#new_wants + 1] = whole(quantity)
  end
  joined[shopper] = 'ok ' .. whole(length) .. ' ' .. whole(place)
  return joined[shopper]
end

local answers = { whole(now), whole(admitted) }
local i = 0
for at = 1, #ARGV, ITEM do
  i = i + 1
  answers[#answers + 1] = join(i, ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
end
if #new_places > 0 then
  redis.call('ZADD', queue, unpack(new_places))
  redis.call('HSET', devices, unpack(new_devices))
  redis.call('HSET', sale_key, 'last_place', whole(last_place))
end
if #new_wants > 0 then
  redis.call('HSET', wants, unpack(new_wants))
end
return answers
