-- finish_checkout: ordering → sold if Postgres has the order; back to available if Postgres refused it; back to the hold, with
-- its old end, if the command was no checkout, or if Postgres made the order from another hold.
-- KEYS: stock, holds, deadlines, device_units
-- ARGV: epoch, chain (how far the audit log has come: lib/chain.lua), then per item: shopper, order, outcome, hold
--   outcome: "committed", "refused" or "undone"
--   hold: the command of the hold that a committed order was made from; "-": not known
-- Returns: now_ms, then per item "ok" (also if it was finished before) or "gone" (the record is about something newer).
-- Atomic because counters, limit and record must change together. May be repeated.
local stock, holds, deadlines, devices_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, chain = ARGV[1], ARGV[2]
local ITEM = 4

local lane, failure = read_lane(stock, epoch, 'chain', 'chain_before')
if not lane then
  return failure
end
read_records(holds, column(3, ITEM))
local device_change = {}

local function finish(shopper, order, outcome, hold)
  local state, quantity, till, bought, its_order, origin = parse_record(records[shopper])
  if its_order ~= order then
    return 'gone'
  end
  if state ~= 'ordering' then
    return 'ok'
  end
  if outcome == 'undone' or (outcome == 'committed' and not is_from(origin, hold)) then
    undo_checkout(lane, shopper, quantity, bought, origin)
    return 'ok'
  end
  lane.ordering = lane.ordering - quantity
  if outcome == 'committed' then
    lane.sold = lane.sold + quantity
    set_record(shopper, 'ordered', quantity, till, whole(bought + quantity), order, origin)
  else
    local _, device = parse_origin(origin)
    lane.available = lane.available + quantity
    count(device_change, device, -quantity)
    set_record(shopper, 'released', quantity, till, bought, order, origin)
  end
  return 'ok'
end

local answers = { whole(now_ms()) }
for i = 3, #ARGV, ITEM do
  answers[#answers + 1] = finish(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if write_records(holds, deadlines) then
  add_units(devices_key, device_change)
  write_counters(stock, lane)
end
note_chain(stock, lane, chain)
return answers
