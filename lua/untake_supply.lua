-- untake_supply: put units that were set aside for a move up for sale again. Postgres has not committed the move and never will,
-- or the lane knows it already and these were set aside too late.
-- KEYS: stock
-- ARGV: epoch, move
-- Returns: how many came back.
-- Atomic because a unit must come back exactly once, however often this is repeated.
local stock = KEYS[1]
local epoch, move = ARGV[1], ARGV[2]

local lane, failure = read_lane(stock, epoch, 'leaving')
if not lane then
  return failure
end
local field = aside_field(move)
local aside = units_aside(redis.call('HGET', stock, field))
if aside > 0 then
  lane.available = lane.available + aside
  redis.call('HSET', stock, 'leaving', whole(lane.leaving - aside))
  redis.call('HDEL', stock, field)
  write_counters(stock, lane)
end
return whole(aside)
