-- join: give shoppers their place in line: the server's time in µs, made strictly increasing. Before the start of a sale that
-- opens in shuffled order, the place comes from the sale's seed.
-- KEYS: sale, queue, admitting, devices, wants, priority, parked, absent, journal, seen
-- ARGV: per item: shopper, device, mark (of the device, short), quantity, old place, opening place, line, how, trace
--   device: for the journal, with "/" and the shopper's nonce behind it, if there is one; neither is kept here
--   old place: one that was given before and is lost here; 0: a new one. Opening place: by the sale's seed; 0: the sale opens
--   in the order of joining. Line: "queue" or "priority". How: "line"; "draw": an entry of a draw, which is not kept here;
--   "ask": only the answer of before; or the code of an answer that needs no place, to be kept
-- Returns: now_ms, "admitted priority_admitted", then per item one of
--   "ok position place line stamp"   waiting (again: the same place); the position of an old place is not exact, nor that of
--                                    an opening place; the stamp is the time of joining, or of coming back after being
--                                    parked, or 0 if not known. With "new" behind it: this join has given the place
--   "admitting"                      being called at this moment
--   "other_quantity quantity"        in line already, for another quantity
--   "device_in_line"                 the device stands in line for somebody else
--   "busy"                           so much is to be written to Postgres that nobody new may come now
--   "ended"   "room_closed room_opens_at"   "missing" (the sale is not open in Redis)
--   "kept code"                      the answer that needs no place, now or before
--   "go"                             an entry of a draw: this is the shopper's last word
--   "over"   "left"                  the command was carried out before, and its place is not there any more
--   "new"                            there is no answer of before
--   "reused"   "superseded"   "too_many"   as in reserve.lua
-- Atomic because a place is given once, and a device is in line once.
local sale_key, queue, admitting, devices, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local priority, parked, absent, journal, seen_key = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local ITEM = 9

local function column(first)
  local names = {}
  for i = first, #ARGV, ITEM do
    names[#names + 1] = ARGV[i]
  end
  return names
end

local keys = { queue = queue, admitting = admitting, devices = devices, wants = wants, priority = priority, parked = parked,
  absent = absent, journal = journal }
local noted, failure = read_line(sale_key, keys)
if not noted then
  return failure
end
local time = now_us()
local now = math.floor(time / 1000)
local sale = redis.call('HMGET', sale_key, 'phase', 'room_opens_at', 'starts_at', 'ends_at', 'lanes', 'last_place',
  'admitted', 'priority_admitted')
local phase, room_opens_at, starts_at, ends_at = sale[1], tonumber(sale[2]), tonumber(sale[3]), tonumber(sale[4])
-- With several lanes a device belongs to one shopper for the whole sale, because no single lane could count its units.
local device_is_bound = tonumber(sale[5] or 1) > 1
local last_place = tonumber(sale[6] or 0)

local shoppers = column(1)
local marks = column(3)
read_seen(seen_key, column(9))
local are_back = welcome_back(keys, shoppers)
local places = { queue = scores(queue, shoppers), priority = scores(priority, shoppers) }
local called = scores(admitting, shoppers)
local owners = redis.call('HMGET', devices, unpack(marks))
local journal_is_full = is_journal_full(journal)
local ahead = being_called(admitting, wants)
local length = { queue = ahead.queue + redis.call('ZCARD', queue), priority = ahead.priority + redis.call('ZCARD', priority) }
local joined, owner_now, wants_now = {}, {}, {}
local new_places, new_devices, new_wants, lines = { queue = {}, priority = {} }, {}, {}, {}
local has_stamps = false

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

local function keep(trace, code, number)
  note_seen(trace, LINE_SEEN, code .. seen_number(number))
end

local function want_of(shopper)
  return redis.call('HGET', wants, shopper)
end

-- The place of a shopper who is in line already.
local function same_place(i, shopper, standing, want)
  if joined[shopper] then
    return string.sub(joined[shopper], 1, -1 - #' new')
  end
  local rank = redis.call('ZRANK', standing == 'queue' and queue or priority, shopper)
  local stamp = 0
  local _, _, was_parked = read_want(want)
  if was_parked then
    -- Somebody who looked while these were parked may have seen an empty line; they must not open the gate past them.
    last_place = math.max(last_place + 1, time)
    stamp, has_stamps = last_place, true
  end
  return string.format('ok %d %d %s %d', ahead[standing] + rank + 1, tonumber(places[standing][i]), standing, stamp)
end

-- The earlier answer to a command, if not a place; nil: that place is still the shopper's latest wish.
local function again(answer, at, part, how)
  local code, number = string.sub(answer, 1, 1), string.byte(answer, 2)
  if code == JOINED or code == JOINED_AGAIN then
    return what_came_after(part, at, how == 'draw')
  end
  if ENDED_AS[code] then
    return ENDED_AS[code]
  end
  if code == 'q' then
    return 'other_quantity ' .. number
  end
  return code == 'd' and 'device_in_line' or 'kept ' .. code
end

-- Like `seen_before`, for the join that made the device's latest place. Later notes of its shopper came after it.
local function was_the_last_join(trace, known_as)
  if string.sub(known_as, 1, MARK) ~= string.sub(trace, FIELD + TAG + 1, FIELD + TAG + MARK) then
    return nil
  end
  if string.sub(known_as, MARK + 1) ~= string.sub(trace, -WHAT) then
    return 'reused'
  end
  local part = string.sub(seen_part(trace), 1, SEEN_KEPT * LINE_SEEN)
  return 'same', JOINED .. seen_number(0), #part + 1, part
end

local function join(i, shopper, device, mark, quantity, old_place, opening_place, line, how, trace)
  if not phase then
    return 'missing'
  end
  local standing = (places.queue[i] and 'queue') or (places.priority[i] and 'priority')
  local owner_text = owner_now[mark] or owners[i]
  local owner, known_as = read_owner(owner_text)
  local word, answer, at, part = seen_before(trace, LINE_SEEN)
  if not word and owner == shopper and known_as ~= '' then
    word, answer, at, part = was_the_last_join(trace, known_as)
  end
  if word == 'same' then
    local outcome = again(answer, at, part, how)
    if outcome then
      return outcome
    elseif how == 'draw' then
      return 'go'
    elseif called[i] then
      return 'admitting'
    end
    return (standing or joined[shopper]) and same_place(i, shopper, standing, want_of(shopper)) or 'over'
  elseif word == 'reused' or word == 'superseded' then
    return word
  elseif how == 'ask' then
    return 'new'
  elseif word == 'full' then
    return 'too_many'
  elseif how == 'draw' then
    keep(trace, JOINED, 0)
    return 'go'
  elseif how ~= 'line' then
    keep(trace, how, 0)
    return 'kept ' .. how
  end
  if phase == 'drawing' or phase == 'ended' or phase == 'cancelled' or now >= ends_at then
    return 'ended'
  end
  if called[i] then
    keep(trace, JOINED_AGAIN, 0)
    return 'admitting'
  end
  if standing or joined[shopper] then
    local want = want_of(shopper)
    local wanted = wants_now[shopper] or read_want(want)
    if wanted ~= quantity then
      keep(trace, 'q', wanted)
      return 'other_quantity ' .. whole(wanted)
    end
    keep(trace, JOINED_AGAIN, 0)
    return same_place(i, shopper, standing, want)
  end
  if now < room_opens_at then
    return 'room_closed ' .. whole(room_opens_at)
  end
  if journal_is_full and old_place == 0 then
    return 'busy'
  end
  if owner and owner ~= shopper and (device_is_bound or stands(owner)) then
    keep(trace, 'd', 0)
    return 'device_in_line'
  end

  -- The stamp counts joins, whatever their places are, and opening the gate checks it. A return to an old place gets one too;
  -- otherwise an earlier look at the line could open the gate past it.
  last_place = math.max(last_place + 1, time)
  has_stamps = true
  local place, stamp, note = last_place, last_place, 'joined'
  if old_place > 0 then
    -- Noted as well, because earlier notes may have been lost with the place.
    place, note = old_place, 'restored'
  elseif opening_place > 0 and now < starts_at then
    place = opening_place
  end
  lines[#lines + 1] = string.format('%s %s %s %d %d %d %s', note, shopper, device, quantity, place, stamp, line)
  length[line] = length[line] + 1
  local new = new_places[line]
  new[#new + 1] = whole(place)
  new[#new + 1] = shopper
  note_last_join(owner_text)
  owner_now[mark] = format_owner(shopper, trace)
  new_devices[#new_devices + 1] = mark
  new_devices[#new_devices + 1] = owner_now[mark]
  wants_now[shopper] = quantity
  if quantity ~= 1 or line == 'priority' then
    new_wants[#new_wants + 1] = shopper
    new_wants[#new_wants + 1] = format_want(quantity, line == 'priority', false)
  end
  if trace ~= '' and seen_part(trace) ~= '' then
    keep(trace, JOINED, 0)
  end
  joined[shopper] = string.format('ok %d %d %s %d new', length[line], place, line, stamp)
  return joined[shopper]
end

local answers = { whole(now), (sale[7] or '0') .. ' ' .. (sale[8] or '0') }
local i = 0
for at = 1, #ARGV, ITEM do
  i = i + 1
  answers[#answers + 1] = join(i, ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
    tonumber(ARGV[at + 5]), ARGV[at + 6], ARGV[at + 7], ARGV[at + 8])
end
if #new_places.queue > 0 then
  redis.call('ZADD', queue, unpack(new_places.queue))
end
if #new_places.priority > 0 then
  redis.call('ZADD', priority, unpack(new_places.priority))
end
if #new_devices > 0 then
  redis.call('HSET', devices, unpack(new_devices))
end
if has_stamps then
  redis.call('HSET', sale_key, 'last_place', whole(last_place))
end
if #new_wants > 0 then
  redis.call('HSET', wants, unpack(new_wants))
end
write_journal(journal, lines)
write_seen(seen_key)
if are_back or #lines > 0 then
  note_line(sale_key, keys, noted)
end
return answers
