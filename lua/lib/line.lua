-- Shared by the line's scripts.
--
-- A shopper is in exactly one of: queue or priority (waiting), admitting (being called), parked (absent at their turn).
-- wants: shopper → units wanted, with "p" for an entry of the priority line and "r" for one that was parked and has come
-- back. A shopper with neither who wants one unit is not in it.

-- The line's keys come and go with the people in it. So that a lost key is not taken for an empty one, each script notes in the
-- sale which of its keys exist (has_queue, …), and checks them before it does anything. A leader guards the line in this way
-- until guarded_until (ms), once every process writes these notes; a line that has ended is not guarded.

-- The notes about a script's keys, by name; nil and an error reply if one of the keys is gone.
local ENDS = { drawing = true, ended = true, cancelled = true }
local function read_line(sale_key, keys)
  local names, fields = {}, { 'phase', 'guarded_until' }
  for name in pairs(keys) do
    names[#names + 1] = name
    fields[#fields + 1] = 'has_' .. name
  end
  local values = redis.call('HMGET', sale_key, unpack(fields))
  local noted, there = {}, {}
  for i, name in ipairs(names) do
    noted[name] = values[i + 2] == '1'
    if noted[name] then
      there[#there + 1] = keys[name]
    end
  end
  local is_guarded = tonumber(values[2] or 0) > now_ms() and not ENDS[values[1]]
  if is_guarded and #there > 0 and redis.call('EXISTS', unpack(there)) < #there then
    return nil, redis.error_reply('LINE_LOST a part of the line is gone')
  end
  return noted
end

-- At the end of a script: notes which of its keys exist now.
local function note_line(sale_key, keys, noted)
  local fields = {}
  for name, key in pairs(keys) do
    local is_there = redis.call('EXISTS', key) == 1
    if is_there ~= noted[name] then
      fields[#fields + 1] = 'has_' .. name
      fields[#fields + 1] = is_there and '1' or '0'
    end
  end
  if #fields > 0 then
    redis.call('HSET', sale_key, unpack(fields))
  end
end

local function read_want(text)
  if not text then
    return 1, false, false
  end
  return tonumber(string.match(text, '^%d+')), string.find(text, 'p', 1, true) ~= nil, string.find(text, 'r', 1, true) ~= nil
end

local function format_want(quantity, priority, returned)
  return whole(quantity) .. (priority and 'p' or '') .. (returned and 'r' or '')
end

-- One lookup for a whole batch, and none for an empty one.
local function scores(key, names)
  if #names == 0 or redis.call('EXISTS', key) == 0 then
    return {}
  end
  return redis.call('ZMSCORE', key, unpack(names))
end

-- How many people of each line are being called. They are ahead of everybody who waits until they count as admitted. Without
-- them, everybody's position would be too good for that moment.
local function being_called(admitting, wants)
  local count = { queue = 0, priority = 0 }
  local names = redis.call('ZRANGE', admitting, 0, -1)
  if #names > 0 then
    for _, want in ipairs(redis.call('HMGET', wants, unpack(names))) do
      local _, priority = read_want(want)
      local line = priority and 'priority' or 'queue'
      count[line] = count[line] + 1
    end
  end
  return count
end

-- Notes for Postgres about entries, one per line; a worker takes them away every second. When this is full, nobody new may join:
-- a missing note would be missing in the history, and in a draw of the remaining units. Ends are always noted; they are no more
-- than joins.
local JOURNAL_MOST = 1000000
local function is_journal_full(journal)
  return redis.call('LLEN', journal) >= JOURNAL_MOST
end

local function write_journal(journal, lines)
  if #lines > 0 then
    redis.call('RPUSH', journal, unpack(lines))
  end
end

-- People who are here, some of whom were absent: parked ones are back at their place. False: nothing has changed.
local function welcome_back(keys, names)
  if #names == 0 or redis.call('EXISTS', keys.absent) == 0 then
    return false
  end
  redis.call('ZREM', keys.absent, unpack(names))
  for i, place in pairs(scores(keys.parked, names)) do
    if place then
      local quantity, priority = read_want(redis.call('HGET', keys.wants, names[i]))
      redis.call('ZREM', keys.parked, names[i])
      redis.call('ZADD', priority and keys.priority or keys.queue, place, names[i])
      redis.call('HSET', keys.wants, names[i], format_want(quantity, priority, true))
    end
  end
  return true
end
