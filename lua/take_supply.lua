-- take_supply: set free units of a lane aside for a move that takes them away.
-- KEYS: stock
-- ARGV: epoch, move, units (to stand aside for this move in all)
-- Returns: how many are set aside for it; fewer than wanted if fewer are free.
-- Atomic because a unit that is being taken away must not be sold at the same time. May be repeated.
local stock = KEYS[1]
local epoch, move, units = ARGV[1], ARGV[2], tonumber(ARGV[3])

local lane, failure = read_lane(stock, epoch, 'leaving')
if not lane then
  return failure
end
local field = aside_field(move)
local aside = units_aside(redis.call('HGET', stock, field))
local more = math.min(units - aside, lane.available)
if more > 0 then
  aside = aside + more
  lane.available = lane.available - more
  redis.call('HSET', stock, field, whole(aside) .. ' ' .. whole(now_ms()), 'leaving', whole(lane.leaving + more))
  write_counters(stock, lane)
end
return whole(aside)
