-- apply_supply: bring a lane's supply from one version that Postgres has committed to a later one.
-- KEYS: stock
-- ARGV: epoch, after, version, supply (in that version), then per item: move
--   one that took units out of the lane after the version `after`, up to `version`
-- Returns: the version that the lane has now. If it is later than `version`, this call was skipped. If it is before
--   `after`, nothing was changed, and the caller must send all versions in between.
-- Atomic because supply and free units must change together, each version once. May be repeated.
local stock = KEYS[1]
local epoch, after, version, supply = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local MOVES = 5

local lane, failure = read_lane(stock, epoch, 'supply', 'supply_version', 'leaving')
if not lane then
  return failure
end
if version <= lane.supply_version or after > lane.supply_version then
  return whole(lane.supply_version)
end
local fields, gone = {}, 0
for i = MOVES, #ARGV do
  fields[#fields + 1] = aside_field(ARGV[i])
end
if #fields > 0 then
  for _, text in pairs(redis.call('HMGET', stock, unpack(fields))) do
    gone = gone + units_aside(text)
  end
  redis.call('HDEL', stock, unpack(fields))
end
-- The leaving units were set aside before. If not, no more is taken than is free, and the reconciler sees the rest.
local change = math.max(supply - lane.supply + gone, -lane.available)
lane.available = lane.available + change
redis.call('HSET', stock, 'supply', whole(lane.supply + change - gone), 'supply_version', whole(version),
  'leaving', whole(lane.leaving - gone))
write_counters(stock, lane)
return whole(version)
