-- admit: call the front of the line. Whoever a dead leader had called and not settled comes first.
-- KEYS: sale, queue, admitting, wants
-- ARGV: most (entries to call)
-- Returns: the last place given, the line's length, then per entry "shopper quantity".
-- Atomic because an entry must be in the line or called, never both, never neither.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most = tonumber(ARGV[1])

local shoppers = redis.call('ZRANGE', admitting, 0, -1)
if #shoppers == 0 and most > 0 then
  local front = redis.call('ZRANGE', queue, 0, most - 1, 'WITHSCORES')
  local moved = {}
  for i = 1, #front, 2 do
    shoppers[#shoppers + 1] = front[i]
    moved[#moved + 1] = front[i + 1]
    moved[#moved + 1] = front[i]
  end
  if #moved > 0 then
    redis.call('ZADD', admitting, unpack(moved))
    redis.call('ZREM', queue, unpack(shoppers))
  end
end

local answers = { redis.call('HGET', sale, 'last_place') or '0', whole(redis.call('ZCARD', queue)) }
if #shoppers > 0 then
  local wanted = redis.call('HMGET', wants, unpack(shoppers))
  for i, shopper in ipairs(shoppers) do
    answers[#answers + 1] = shopper .. ' ' .. (wanted[i] or '1')
  end
end
return answers
