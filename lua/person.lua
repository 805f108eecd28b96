-- person: what shoppers have on a lane.
-- KEYS: stock, holds
-- ARGV: epoch, then per item: shopper
-- Returns: now_ms, then per item "limit record…", where record is as in lib/lane.lua.
-- Atomic because a page must not see a hold together with the order made from it.
local stock, holds = KEYS[1], KEYS[2]
local epoch = ARGV[1]

local lane, failure = read_lane(stock, epoch, 'shopper_limit')
if not lane then
  return failure
end
local shoppers = column(2, 1)
read_records(holds, shoppers)
local answers = { whole(now_ms()) }
for _, shopper in ipairs(shoppers) do
  answers[#answers + 1] = whole(lane.shopper_limit) .. ' ' .. records[shopper]
end
return answers
