-- settle_admission: what became of called entries: served ones leave the line, the others go back to their old place.
-- KEYS: sale, queue, admitting, wants
-- ARGV: per item: shopper, verdict ("served" | "back")
-- Returns: the number admitted so far.
-- Atomic because an entry must be in the line or called, never both, never neither. May be repeated.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ITEM = 2

local served = 0
for i = 1, #ARGV, ITEM do
  local shopper, verdict = ARGV[i], ARGV[i + 1]
  local place = redis.call('ZSCORE', admitting, shopper)
  if place then
    redis.call('ZREM', admitting, shopper)
    if verdict == 'back' then
      redis.call('ZADD', queue, place, shopper)
    else
      redis.call('HDEL', wants, shopper)
      served = served + 1
    end
  end
end
return whole(redis.call('HINCRBY', sale, 'admitted', served))
