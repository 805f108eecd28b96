-- probe_line: find which noted parts of the line are gone (see lib/line.lua).
-- KEYS: sale, queue, admitting, devices, wants, priority, parked, absent, journal
-- ARGV: guard_ms, is_guarded ("1": the caller guards this line)
-- Returns: now_ms, then "guarded" (for guard_ms from now), "not_yet" (nobody guards it) or "over" (the line has ended); then "filled" or
--   "unfilled" (places of its history may be missing), then the parts that are gone, with "sale" among them if all notes are gone.
-- Atomic because parts that appear must be told apart from parts that disappear.
local sale, queue, admitting, devices, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local priority, parked, absent, journal = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local guard_ms, is_guarded = tonumber(ARGV[1]), ARGV[2]

local now = now_ms()
local phase, until_ms, is_filled = unpack(redis.call('HMGET', sale, 'phase', 'guarded_until', 'filled'))
local filled = is_filled == '1' and 'filled' or 'unfilled'
if ENDS[phase] then
  return { whole(now), 'over', filled }
end
if not until_ms and is_guarded == '1' then
  return { whole(now), 'guarded', filled, 'sale' }
end
if tonumber(until_ms or 0) <= now then
  return { whole(now), 'not_yet', filled }
end
redis.call('HSET', sale, 'guarded_until', whole(now + guard_ms))
local answers = { whole(now), 'guarded', filled }
local keys = { queue = queue, admitting = admitting, devices = devices, wants = wants, priority = priority, parked = parked,
  absent = absent, journal = journal }
for name, key in pairs(keys) do
  if redis.call('HGET', sale, 'has_' .. name) == '1' and redis.call('EXISTS', key) == 0 then
    answers[#answers + 1] = name
  end
end
return answers
