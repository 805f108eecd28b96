-- person: what shoppers have on a lane.
-- KEYS: stock, holds, bought
-- ARGV: epoch, then per item: shopper
-- Returns: now_ms, then per item "bought limit record…", where record is as in lib/lane.lua or "-".
-- Atomic because a page must not be told of a hold and of the order made from it at once.
local stock, holds, bought_key = KEYS[1], KEYS[2], KEYS[3]
local epoch = ARGV[1]

local lane, failure = read_lane(stock, epoch)
if not lane then
  return failure
end
local shoppers = column(2, 1)
local bought = read_many(bought_key, shoppers, tonumber)
local records = read_many(holds, shoppers, tostring)
local answers = { whole(now_ms()) }
for _, shopper in ipairs(shoppers) do
  answers[#answers + 1] =
    table.concat({ whole(bought[shopper] or 0), whole(lane.shopper_limit), records[shopper] or '-' }, ' ')
end
return answers
