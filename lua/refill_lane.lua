-- refill_lane: write a part of a lane's shopper data during its rebuild.
-- KEYS: stock, holds, deadlines, device_units, returned
-- ARGV: epoch (of the rebuild), then per item: kind, name, value, deadline
--   "record" shopper record until (0: it does not run)   "device" device units 0   "returned" order 0 0
-- Returns: how many items were written, or an error: LANE_FENCED if another rebuild has begun, LANE_LOST
--   if Redis has begun another life.
-- Atomic because a rebuild that was overtaken must write nothing more. May be repeated.
local stock, holds, deadlines, device_units, returned = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]
local ITEM = 4

local rebuilding, run = unpack(redis.call('HMGET', stock, 'rebuilding', 'run'))
if rebuilding ~= epoch then
  return redis.error_reply('LANE_FENCED the lane is not being rebuilt under this epoch')
end
if run ~= this_run() then
  return redis.error_reply('LANE_LOST the lane was locked in another life of Redis')
end
for i = 2, #ARGV, ITEM do
  local kind, name, value, deadline = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if kind == 'record' then
    redis.call('HSET', holds, name, value)
    if deadline ~= '0' then
      redis.call('ZADD', deadlines, deadline, name) -- a bucket of one
    end
  elseif kind == 'device' then
    redis.call('HSET', device_units, name, value)
  else
    redis.call('SADD', returned, name)
  end
end
return whole((#ARGV - 1) / ITEM)
