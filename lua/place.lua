-- place: where shoppers stand in line.
-- KEYS: sale, queue, admitting, wants
-- ARGV: per item: shopper
-- Returns: now_ms, admitted, then per item "waiting position quantity place", "admitting 0 quantity" or "none".
-- Atomic because a position is only meaningful beside the number admitted at the same moment.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local answers = { whole(now_ms()), redis.call('HGET', sale, 'admitted') or '0' }
local called = redis.call('ZMSCORE', admitting, unpack(ARGV))
local wanted = redis.call('HMGET', wants, unpack(ARGV))
for i, shopper in ipairs(ARGV) do
  local rank = redis.call('ZRANK', queue, shopper)
  if called[i] then
    answers[#answers + 1] = 'admitting 0 ' .. (wanted[i] or '1')
  elseif rank then
    answers[#answers + 1] = table.concat({
      'waiting', whole(rank + 1), wanted[i] or '1', whole(tonumber(redis.call('ZSCORE', queue, shopper))),
    }, ' ')
  else
    answers[#answers + 1] = 'none'
  end
end
return answers
