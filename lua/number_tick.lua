-- number_tick: the next tick's number and the line's state, for the leader only.
-- KEYS: sale, queue, leader, priority, parked
-- ARGV: token (the leader's)
-- Returns: now_ms, seq, waiting, admitted, priority_waiting, priority_admitted, parked, granted,
--   granted_units, lapsed, lapsed_units; or an error NOT_LEADER.
-- The number is the time in ms, made strictly increasing, so that it still rises in a Redis that has lost the sale.
-- Atomic because only the leader of this moment may number ticks.
local sale, queue, leader, priority, parked = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token = ARGV[1]

if redis.call('GET', leader) ~= token then
  return redis.error_reply('NOT_LEADER another worker leads this sale')
end
local now = now_ms()
local known = redis.call('HMGET', sale, 'tick', 'admitted', 'priority_admitted', 'granted',
  'granted_units', 'lapsed', 'lapsed_units')
local seq = math.max(now, tonumber(known[1] or '0') + 1)
redis.call('HSET', sale, 'tick', whole(seq))
return {
  whole(now), whole(seq), whole(redis.call('ZCARD', queue)), known[2] or '0',
  whole(redis.call('ZCARD', priority)), known[3] or '0', whole(redis.call('ZCARD', parked)),
  known[4] or '0', known[5] or '0', known[6] or '0', known[7] or '0',
}
