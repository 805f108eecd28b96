-- probe_lane: whether a lane can sell.
-- KEYS: stock, holds, deadlines, device_units, returned, drawn
-- ARGV: epoch
-- Returns: "open"; "lost" (missing, opened in another life of Redis, or without one of its keys); or its epoch,
--   if that is another one.
-- Atomic because counters and records must be of one moment.
local stock, holds, deadlines, device_units, returned, drawn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local epoch = ARGV[1]

local living = redis.call('HGET', stock, 'epoch')
if living and living ~= epoch then
  return living
end
-- A lane opened by an earlier release is known to be complete only by its counters.
local lane = read_lane(stock, epoch)
if not lane then
  return 'lost'
end
local running = lane.claimed + lane.held + lane.ordering
if running + lane.sold > 0 and redis.call('EXISTS', holds) == 0 or running > 0 and redis.call('ZCARD', deadlines) == 0 then
  return 'lost'
end
return 'open'
