-- A sale never goes back from its draw or its end: a caller with an earlier phase read it before that.
local STAGES = { drawing = 1, ended = 2, cancelled = 2 }

local function goes_back(known, phase)
  return (STAGES[known] or 0) > (STAGES[phase] or 0)
end
