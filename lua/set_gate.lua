-- set_gate: "line" lets only claims reserve, "open" lets everybody. People who wait are never overtaken: closing carries the
-- joiner's place, and opening requires a look at an empty line after that place.
-- KEYS: stock
-- ARGV: epoch, gate ("line" | "open"), place (µs: the joiner's, or the last place given when the line was seen empty)
-- Returns: the gate as it is now.
-- Atomic because comparing places and setting the gate must be one step.
local stock = KEYS[1]
local epoch, gate, place = ARGV[1], ARGV[2], tonumber(ARGV[3])

local lane, failure = read_lane(stock, epoch, 'gate', 'gate_place')
if not lane then
  return failure
end
if gate == 'line' then
  redis.call('HSET', stock, 'gate', 'line', 'gate_place', whole(math.max(place, lane.gate_place)))
  return 'line'
end
if lane.gate_place <= place then
  redis.call('HSET', stock, 'gate', 'open')
  return 'open'
end
return lane.gate
