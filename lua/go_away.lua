-- go_away: mark shoppers in line as absent because their last socket has closed. Their place is kept.
-- KEYS: sale, queue, priority, parked, absent
-- ARGV: per item: shopper
-- Returns: now_ms, then per item "ok" or "none" (not in line).
-- Atomic because a shopper who has just left the line must not be marked.
local sale, queue, priority, parked, absent = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local keys = { queue = queue, priority = priority, parked = parked, absent = absent }
local noted, failure = read_line(sale, keys)
if not noted then
  return failure
end

local now = now_ms()
local waits, first, aside = scores(queue, ARGV), scores(priority, ARGV), scores(parked, ARGV)
local answers, marks = { whole(now) }, {}
for i, shopper in ipairs(ARGV) do
  local stands = waits[i] or first[i] or aside[i]
  if stands then
    marks[#marks + 1] = whole(now)
    marks[#marks + 1] = shopper
  end
  answers[#answers + 1] = stands and 'ok' or 'none'
end
if #marks > 0 then
  redis.call('ZADD', absent, 'NX', unpack(marks))
  note_line(sale, keys, noted)
end
return answers
