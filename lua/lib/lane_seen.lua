-- A lane's stored answers (`seen.lua`): a code, a number, and the hold's end in ms, or zeros.
--
-- A reserve's code is the state in which its hold has ended; or TAKEN if the answer was a hold that another command had made, as
-- long as that hold exists. For a release that found no hold to release, it is the state found.

-- Its key is the last one of a script and comes with the first command; its loss is harmless.
unkept = 1

local LANE_SEEN = MARK + WHAT + 15
local NO_TIME = '0000000000000'
local TAKEN = 'H'
local SEEN_CODES = {
  claim = 'c', lapsed = 'l', left = 'f', held = 'h', released = 'r', expired = 'x', ordering = 'g', ordered = 'd',
  cancelled = 'k', none = 'n',
}
local SEEN_STATES = {}
for state, code in pairs(SEEN_CODES) do
  SEEN_STATES[code] = state
end

local function read_lane_seen(answer)
  return string.sub(answer, 1, 1), string.byte(answer, 2), string.sub(answer, 3)
end

-- The hold of a shopper's record is replaced by another hold or by a claim.
local ALL, PARTIAL = 1, 2
local function note_last_hold(shopper, state, quantity, origin)
  if origin == NOTHING then
    return
  end
  local command, _, asked, held_till = parse_origin(origin)
  local wanted = tonumber(string.match(asked, '^%d+'))
  if command == '-' or not wanted then
    return
  end
  local verb = string.sub(asked, -1) == 'p' and PARTIAL or ALL
  local trace = trace_of(shopper, command, string.char(verb, wanted))
  change_seen(trace, LANE_SEEN, TAKEN, SEEN_CODES[state])
  local till = #held_till == #NO_TIME and held_till or NO_TIME
  note_seen(trace, LANE_SEEN, SEEN_CODES[state] .. seen_number(quantity) .. till)
end
