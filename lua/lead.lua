-- lead: become, or stay, the one worker that acts for a sale.
-- KEYS: leader
-- ARGV: token, lease_ms (0: step down)
-- Returns: "yes" or "no".
-- Atomic because two workers must not both believe that they lead.
local leader = KEYS[1]
local token, lease_ms = ARGV[1], tonumber(ARGV[2])

local holder = redis.call('GET', leader)
if holder and holder ~= token then
  return 'no'
end
if lease_ms == 0 then
  redis.call('DEL', leader)
  return 'no'
end
redis.call('SET', leader, token, 'PX', lease_ms)
return 'yes'
