-- set_supply: bring a lane's supply to what is asked. More units are free at once; fewer are taken from the free ones
-- only, so that the lane may keep more than asked for.
-- KEYS: stock
-- ARGV: epoch, supply
-- Returns: the supply that the lane has now.
-- Atomic because a unit that is being taken away must not be sold at the same time.
local stock = KEYS[1]
local epoch, supply = ARGV[1], tonumber(ARGV[2])

local lane, failure = read_lane(stock, epoch, 'supply')
if not lane then
  return failure
end
local change = math.max(supply - lane.supply, -lane.available)
if change ~= 0 then
  lane.supply = lane.supply + change
  lane.available = lane.available + change
  redis.call('HSET', stock, 'supply', whole(lane.supply))
  write_counters(stock, lane)
end
return whole(lane.supply)
