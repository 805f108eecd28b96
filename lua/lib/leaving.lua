-- Units set aside for moves that take them out of a lane: one field per move in the lane's own hash, "units since", and their sum
-- in `leaving`. They belong to the lane's supply until Postgres says that they have left.
local function aside_field(move)
  return 'leaving:' .. move
end

local function units_aside(text)
  return tonumber(string.match(text or '0', '^%d+'))
end
