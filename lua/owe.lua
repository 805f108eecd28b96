-- owe: adds what one process has let through to what all processes have, for limits that hold over processes.
-- KEYS: owed
-- ARGV: per item: who, cost (µs)
-- Returns: for each, how far its time is ahead of now (µs).
-- Of each asker only the time is kept at which all that it has got would have been allowed one by one (ITU-T I.371, GCRA). Whoever's
-- time has come is forgotten. A cost below 0 was given back.
-- Atomic because several processes add to the same time.
local owed = KEYS[1]
local ITEM = 2

local now = now_us()
redis.call('ZREMRANGEBYSCORE', owed, '-inf', whole(now))
local ahead = {}
for i = 1, #ARGV, ITEM do
  local who, cost = ARGV[i], tonumber(ARGV[i + 1])
  local due = math.max(tonumber(redis.call('ZSCORE', owed, who) or '0'), now) + cost
  if due > now then
    redis.call('ZADD', owed, whole(due), who)
  else
    redis.call('ZREM', owed, who)
  end
  ahead[#ahead + 1] = whole(math.max(due - now, 0))
end
local newest = redis.call('ZRANGE', owed, -1, -1, 'WITHSCORES')
if newest[2] then
  redis.call('PEXPIREAT', owed, whole(math.ceil(tonumber(newest[2]) / 1000)))
end
return ahead
