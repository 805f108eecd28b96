-- The member that every key of a lane except the stock always has (see lib/lane.lua).
local KEPT, NEVER = '-kept-', '4503599627370496'
local function keep(holds, deadlines, device_units, returned, drawn)
  redis.call('HSET', holds, KEPT, 'claim 0 ' .. NEVER .. ' 0 - - - - 0')
  redis.call('ZADD', deadlines, NEVER, KEPT)
  redis.call('HSET', device_units, KEPT, 0)
  redis.call('SADD', returned, KEPT)
  redis.call('SADD', drawn, KEPT)
end
