-- next_lapse: when the next claim, hold or checkout ends by itself. Buckets without running deadlines are removed on the way; if
-- there are many, a later call gives the answer.
-- KEYS: stock, holds, deadlines
-- ARGV: epoch, most (buckets a call)
-- Returns: now_ms, then the deadline in ms, or 0 if none is known.
-- Atomic because a bucket may only go while no record has its deadline.
local stock, holds, deadlines = KEYS[1], KEYS[2], KEYS[3]
local epoch, most = ARGV[1], tonumber(ARGV[2])

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end

local function runs(bucket, deadline)
  local shoppers = {}
  for shopper in string.gmatch(bucket, '[^ ]+') do
    shoppers[#shoppers + 1] = shopper
  end
  for _, record in ipairs(redis.call('HMGET', holds, unpack(shoppers))) do
    local state, _, till = parse_record(record or NO_RECORD)
    if RUNNING[state] and tonumber(till) == deadline then
      return true
    end
  end
  return false
end

local front = redis.call('ZRANGE', deadlines, 0, most - 1, 'WITHSCORES')
local next_deadline = 0
local passed = {}
for i = 1, #front, 2 do
  if front[i] == KEPT then
    break
  end
  local deadline = tonumber(front[i + 1])
  if runs(front[i], deadline) then
    next_deadline = deadline
    break
  end
  passed[#passed + 1] = front[i]
end
if #passed > 0 then
  redis.call('ZREM', deadlines, unpack(passed))
end
return { whole(now_ms()), whole(next_deadline) }
