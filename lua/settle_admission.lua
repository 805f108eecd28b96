-- settle_admission: settle called entries: served ones leave the line, the others go back to their old place.
-- KEYS: sale, queue, admitting, wants, priority, journal
-- ARGV: per item: shopper, verdict ("served" | "removed" | "back")
-- Returns: "admitted priority_admitted" so far.
-- Also counts inversions: entries served after somebody from behind them, not counting absent ones that came back.
-- Atomic because an entry must be either in the line or called, never both or neither. May be repeated.
local sale, queue, admitting, wants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local priority, journal = KEYS[5], KEYS[6]
local ITEM = 2

local keys = { queue = queue, admitting = admitting, wants = wants, priority = priority, journal = journal }
local noted, failure = read_line(sale, keys)
if not noted then
  return failure
end
local shoppers, verdicts = {}, {}
for i = 1, #ARGV, ITEM do
  -- A name that appears twice counts once.
  if not verdicts[ARGV[i]] then
    shoppers[#shoppers + 1] = ARGV[i]
    verdicts[ARGV[i]] = ARGV[i + 1]
  end
end
local time = now_us()
local places = scores(admitting, shoppers)
local wanted = #shoppers > 0 and redis.call('HMGET', wants, unpack(shoppers)) or {}
local farthest = tonumber(redis.call('HGET', sale, 'farthest') or 0)
local settled, back, gone, lines = {}, { queue = {}, priority = {} }, {}, {}
local served, inversions, farthest_now = { queue = 0, priority = 0 }, 0, farthest
for i, shopper in ipairs(shoppers) do
  local place, verdict = places[i], verdicts[shopper]
  if place then
    settled[#settled + 1] = shopper
    local _, first, returned = read_want(wanted[i])
    local line = first and 'priority' or 'queue'
    if verdict == 'back' then
      back[line][#back[line] + 1] = place
      back[line][#back[line] + 1] = shopper
    else
      served[line] = served[line] + 1
      if wanted[i] then
        gone[#gone + 1] = shopper
      end
      if line == 'queue' and not returned then
        -- Those called together are served together.
        inversions = inversions + (tonumber(place) < farthest and 1 or 0)
        farthest_now = math.max(farthest_now, tonumber(place))
      end
      lines[#lines + 1] = string.format('%s %s %d', verdict, shopper, time)
    end
  end
end
if #settled > 0 then
  redis.call('ZREM', admitting, unpack(settled))
end
if #back.queue > 0 then
  redis.call('ZADD', queue, unpack(back.queue))
end
if #back.priority > 0 then
  redis.call('ZADD', priority, unpack(back.priority))
end
if #gone > 0 then
  redis.call('HDEL', wants, unpack(gone))
end
if farthest_now > farthest then
  redis.call('HSET', sale, 'farthest', whole(farthest_now))
end
redis.call('HINCRBY', sale, 'inversions', inversions)
write_journal(journal, lines)
note_line(sale, keys, noted)
return whole(redis.call('HINCRBY', sale, 'admitted', served.queue)) .. ' '
  .. whole(redis.call('HINCRBY', sale, 'priority_admitted', served.priority))
