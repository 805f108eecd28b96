-- place: where shoppers are in line. Asking shows that they are here: an absent shopper is back.
-- KEYS: sale, queue, admitting, wants, priority, parked, absent
-- ARGV: per item: shopper
-- Returns: now_ms, "admitted priority_admitted", then per item "waiting position quantity place line",
--   "admitting 0 quantity" or "none".
-- Atomic because a position has a meaning only with the number admitted at the same moment.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local priority, parked, absent = KEYS[5], KEYS[6], KEYS[7]

local keys = { queue = queue, admitting = admitting, wants = wants, priority = priority, parked = parked, absent = absent }
local noted, failure = read_line(sale, keys)
if not noted then
  return failure
end
if welcome_back(keys, ARGV) then
  note_line(sale, keys, noted)
end
local counts = redis.call('HMGET', sale, 'admitted', 'priority_admitted')
local answers = { whole(now_ms()), (counts[1] or '0') .. ' ' .. (counts[2] or '0') }
local places = { queue = scores(queue, ARGV), priority = scores(priority, ARGV) }
local called = scores(admitting, ARGV)
local wanted = redis.call('HMGET', wants, unpack(ARGV))
local ahead = being_called(admitting, wants)
for i, shopper in ipairs(ARGV) do
  local quantity = read_want(wanted[i])
  local line = (places.queue[i] and 'queue') or (places.priority[i] and 'priority')
  if called[i] then
    answers[#answers + 1] = 'admitting 0 ' .. whole(quantity)
  elseif line then
    local rank = redis.call('ZRANK', line == 'queue' and queue or priority, shopper)
    answers[#answers + 1] = string.format('waiting %d %d %d %s', ahead[line] + rank + 1, quantity,
      tonumber(places[line][i]), line)
  else
    answers[#answers + 1] = 'none'
  end
end
return answers
