-- The stored answers of join and leave (`seen.lua`): a code and a number.

local LINE_SEEN = MARK + WHAT + 2
-- A new place, a place that existed already, a place given up, and none that could be given up.
local JOINED, JOINED_AGAIN, LEFT, NOT_THERE = 'j', 'a', 'e', 'n'
-- A place that was given up, or had ended, before its device was used by another join.
local PLACE_ENDED = { left = 'v', over = 'o' }
local ENDED_AS = { v = 'left', o = 'over' }

-- "left" or "over": by a later command, the place of this record is no longer the shopper's; nil: no later command. A draw's
-- entry is given up by a leave that found no place in line.
local function what_came_after(part, at, of_draw)
  for later = at - LINE_SEEN, 1, -LINE_SEEN do
    local code = string.sub(part, later + MARK + WHAT, later + MARK + WHAT)
    if code == LEFT or (of_draw and code == NOT_THERE) then
      return 'left'
    elseif code == JOINED then
      return 'over'
    end
  end
end

-- The shopper in line for a device, and the identity of their join: "shopper mark what", as in a trace. A shopper restored by a
-- rebuild has no mark.
local KNOWN_AS = MARK + WHAT
local function read_owner(text)
  if text and string.sub(text, -KNOWN_AS - 1, -KNOWN_AS - 1) == ' ' then
    return string.sub(text, 1, -KNOWN_AS - 2), string.sub(text, -KNOWN_AS)
  end
  return text, ''
end

local function format_owner(shopper, trace)
  return trace == '' and shopper or shopper .. ' ' .. string.sub(trace, -KNOWN_AS)
end

-- Another join takes over the device.
local function note_last_join(text)
  local owner, known_as = read_owner(text)
  if known_as == '' then
    return
  end
  local trace = string.sub(trace_of(owner, '', ''), 1, FIELD + TAG) .. known_as
  if not seen_before(trace, LINE_SEEN) then
    local part = string.sub(seen_part(trace), 1, SEEN_KEPT * LINE_SEEN)
    note_seen(trace, LINE_SEEN, PLACE_ENDED[what_came_after(part, #part + 1) or 'over'] .. seen_number(0))
  end
end
