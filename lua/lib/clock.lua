-- Redis' own clock decides every deadline and every "is it open", so that no gateway opens early.
local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

-- Lua prints large numbers as 1.7e+12, and Redis stores what Lua prints. A batch repeats the same few numbers.
local printed = {}
local function whole(number)
  local text = printed[number]
  if not text then
    text = string.format('%d', number)
    printed[number] = text
  end
  return text
end
