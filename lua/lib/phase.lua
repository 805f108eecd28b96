-- A sale never goes back from its draw or its end: whoever says so has read it before it went there.
local STAGES = { drawing = 1, ended = 2, cancelled = 2 }

local function goes_back(known, phase)
  return (STAGES[known] or 0) > (STAGES[phase] or 0)
end
