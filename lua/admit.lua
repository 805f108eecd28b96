-- admit: call the front of the line. Entries that a dead leader called and did not settle come first. Absent people are parked
-- instead and keep their place.
-- KEYS: sale, queue, admitting, wants, priority, parked, absent
-- ARGV: most (entries to call), share (percent of them for the priority line, while somebody waits there)
-- Returns: the last stamp given, how many wait, then per entry "shopper quantity", or "shopper 0" for one that was parked.
-- Atomic because an entry must be either in the line or called, never both or neither.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local priority, parked, absent = KEYS[5], KEYS[6], KEYS[7]
local most, share = tonumber(ARGV[1]), tonumber(ARGV[2])
-- How often a front of absent people is searched at once; the next step continues.
local ROUNDS = 3

local keys = { queue = queue, admitting = admitting, wants = wants, priority = priority, parked = parked, absent = absent }
local noted, failure = read_line(sale, keys)
if not noted then
  return failure
end
local shoppers, absentees = redis.call('ZRANGE', admitting, 0, -1), {}

-- Takes up to `wanted` people off the front of a line.
local function take(line, wanted)
  local taken = 0
  for _ = 1, ROUNDS do
    if taken >= wanted then
      break
    end
    local front = redis.call('ZRANGE', line, 0, wanted - taken - 1, 'WITHSCORES')
    if #front == 0 then
      break
    end
    local names, called, away = {}, {}, {}
    for i = 1, #front, 2 do
      names[#names + 1] = front[i]
    end
    local since = scores(absent, names)
    for i, name in ipairs(names) do
      local to = since[i] and away or called
      to[#to + 1] = front[2 * i]
      to[#to + 1] = name
      local list = since[i] and absentees or shoppers
      list[#list + 1] = name
    end
    -- By rank: this walks along the front once, however long the line is.
    redis.call('ZREMRANGEBYRANK', line, 0, #names - 1)
    if #called > 0 then
      redis.call('ZADD', admitting, unpack(called))
    end
    if #away > 0 then
      redis.call('ZADD', parked, unpack(away))
    end
    taken = taken + #called / 2
  end
  return taken
end

if #shoppers == 0 and most > 0 then
  local first = take(priority, math.ceil(most * share / 100))
  local then_taken = take(queue, most - first)
  -- Calls that one line does not use go to the other.
  if share > 0 then
    take(priority, most - first - then_taken)
  end
end

note_line(sale, keys, noted)
local waiting = redis.call('ZCARD', queue) + redis.call('ZCARD', priority)
local answers = { redis.call('HGET', sale, 'last_place') or '0', whole(waiting) }
if #shoppers > 0 then
  local wanted = redis.call('HMGET', wants, unpack(shoppers))
  for i, shopper in ipairs(shoppers) do
    answers[#answers + 1] = shopper .. ' ' .. whole(read_want(wanted[i]))
  end
end
for _, shopper in ipairs(absentees) do
  answers[#answers + 1] = shopper .. ' 0'
end
return answers
