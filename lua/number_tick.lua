-- number_tick: the next tick's number and the line's state, for the leader only.
-- KEYS: sale, queue, leader
-- ARGV: token (the leader's)
-- Returns: now_ms, seq, waiting, admitted; or an error NOT_LEADER.
-- The number is the time in ms, made strictly increasing, so that it goes on rising in a Redis that has lost the sale.
-- Atomic because only the leader of this moment may number ticks.
local sale, queue, leader = KEYS[1], KEYS[2], KEYS[3]
local token = ARGV[1]

if redis.call('GET', leader) ~= token then
  return redis.error_reply('NOT_LEADER another worker leads this sale')
end
local now = now_ms()
local seq = math.max(now, tonumber(redis.call('HGET', sale, 'tick') or '0') + 1)
redis.call('HSET', sale, 'tick', whole(seq))
return {
  whole(now), whole(seq), whole(redis.call('ZCARD', queue)),
  redis.call('HGET', sale, 'admitted') or '0',
}
