-- refill_line: give people their places in line again, from its history. Those who are in line keep what they have.
-- KEYS: queue, admitting, devices, wants, priority, parked
-- ARGV: verb, then per item: shopper, mark, quantity, place, line
--   verb: "fill", or "look": nothing is changed. Mark: of the device. Line: "queue" or "priority"; or "none": they wait no
--   more, and only the device is theirs still
-- Returns: now_ms, then per item "stands" or "nowhere", as it was before this call.
-- Atomic because nobody may be in two places. May be repeated.
local queue, admitting, devices, wants, priority, parked = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local verb = ARGV[1]
local ITEM = 5

local shoppers = {}
for i = 2, #ARGV, ITEM do
  shoppers[#shoppers + 1] = ARGV[i]
end
local waits, called = scores(queue, shoppers), scores(admitting, shoppers)
local first, aside = scores(priority, shoppers), scores(parked, shoppers)
local answers = { whole(now_ms()) }
for i, shopper in ipairs(shoppers) do
  local at = 2 + (i - 1) * ITEM
  local mark, quantity, place, line = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4]
  local stands = waits[i] or called[i] or first[i] or aside[i]
  answers[#answers + 1] = stands and 'stands' or 'nowhere'
  if verb == 'fill' then
    if not stands and line ~= 'none' then
      redis.call('ZADD', line == 'priority' and priority or queue, place, shopper)
    end
    if line ~= 'none' and (quantity ~= 1 or line == 'priority') then
      redis.call('HSETNX', wants, shopper, format_want(quantity, line == 'priority', false))
    end
    redis.call('HSETNX', devices, mark, shopper)
  end
end
return answers
