-- Units set aside for a move that takes them out of a lane: a field of the lane's own hash each, "units since", and their sum
-- in `leaving`. They are part of the lane's supply until Postgres says that they have left.
local function aside_field(move)
  return 'leaving:' .. move
end

local function units_aside(text)
  return tonumber(string.match(text or '0', '^%d+'))
end
