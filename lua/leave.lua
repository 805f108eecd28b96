-- leave: give up places in line.
-- KEYS: sale, queue, admitting, wants, priority, parked, absent, journal, seen
-- ARGV: per item: shopper, trace
-- Returns: now_ms, then per item "ok", "admitting" (being called at this moment) or "none". If the command was carried out
--   before: "ok again" and "none again", or, if newer commands have come since, "ok over" and "none over"; "reused" and
--   "superseded" as in reserve.lua.
-- The device's mark stays: it counts only while its shopper is in line or, with several lanes, for the whole sale.
-- Atomic because a shopper who has left must not be called.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local priority, parked, absent, journal, seen_key = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local ITEM = 2

local keys = { queue = queue, admitting = admitting, wants = wants, priority = priority, parked = parked, absent = absent,
  journal = journal }
local noted, failure = read_line(sale, keys)
if not noted then
  return failure
end

local time, lines = now_us(), {}
local traces = {}
for i = 2, #ARGV, ITEM do
  traces[#traces + 1] = ARGV[i]
end
read_seen(seen_key, traces)

local function leave(shopper, trace)
  local word, answer, at = seen_before(trace, LINE_SEEN)
  if word == 'same' then
    return (string.sub(answer, 1, 1) == LEFT and 'ok' or 'none') .. (at == 1 and ' again' or ' over')
  elseif word and word ~= 'full' then
    return word
  end
  if redis.call('ZSCORE', admitting, shopper) then
    return 'admitting'
  end
  local stood = redis.call('ZREM', queue, shopper) + redis.call('ZREM', priority, shopper)
    + redis.call('ZREM', parked, shopper)
  note_seen(trace, LINE_SEEN, (stood == 0 and NOT_THERE or LEFT) .. seen_number(0))
  if stood == 0 then
    return 'none'
  end
  redis.call('HDEL', wants, shopper)
  redis.call('ZREM', absent, shopper)
  lines[#lines + 1] = string.format('left %s %d', shopper, time)
  return 'ok'
end

local answers = { whole(math.floor(time / 1000)) }
for i = 1, #ARGV, ITEM do
  answers[#answers + 1] = leave(ARGV[i], ARGV[i + 1])
end
if #lines > 0 then
  write_journal(journal, lines)
  note_line(sale, keys, noted)
end
write_seen(seen_key)
return answers
