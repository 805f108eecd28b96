-- The answers to each shopper's last commands, so that a repeated command has no second effect.
--
-- A field of the hash is a bucket of shoppers. Its text has for each of them DEL and a tag, and then their commands, the newest
-- first: SEEN_KEPT records of one width ("mark what answer"), and for up to SEEN_OLDER earlier commands only the mark. A mark
-- names a command, "what" its verb and quantity; the answer is the script's own. All but the answer are bytes below DEL, so that
-- a shopper's part is found without reading the others. A trace is "field DEL tag mark what", or empty for calls that are no
-- shopper's command. Rust makes a command's trace (`stock/seen.rs`); `trace_of` makes the same.
--
-- A command whose hold or place is the shopper's latest is known by that, and is noted here only when another one follows. Most
-- shoppers have only one, and noting takes a third of a script's time.
--
-- Nothing is forgotten: once a shopper's part is full, they can take no more places or units.

local SEEN_KEPT, SEEN_OLDER = 8, 256
local FIELD, TAG, MARK, WHAT = 3, 6, 5, 2
local SEEN_BUCKETS, SEEN_BASE = 65536, 127

-- The lowest digits of a number.
local function seen_digits(number, digits)
  local text = {}
  for i = 1, digits do
    text[i] = string.char(number % SEEN_BASE)
    number = math.floor(number / SEEN_BASE)
  end
  return table.concat(text)
end

local function trace_of(shopper, command, what)
  local person, id = redis.sha1hex(shopper), redis.sha1hex(command .. shopper)
  return seen_digits(tonumber(string.sub(person, 1, 12), 16) % SEEN_BUCKETS, FIELD) .. '\127'
    .. seen_digits(tonumber(string.sub(person, 13, 24), 16), TAG - 1)
    .. seen_digits(tonumber(string.sub(id, 1, 12), 16), MARK) .. what
end

local seen_from, seen, seen_written = nil, {}, {}

local function read_seen(key, traces)
  seen_from = key
  local fields = {}
  for i = 1, #traces do
    if traces[i] ~= '' then
      fields[#fields + 1] = string.sub(traces[i], 1, FIELD)
    end
  end
  if #fields == 0 then
    return
  end
  local texts = redis.call('HMGET', key, unpack(fields))
  for i = 1, #fields do
    seen[fields[i]] = texts[i] or ''
  end
end

-- A shopper's part of their bucket, and its position there.
local function seen_part(trace)
  local field = string.sub(trace, 1, FIELD)
  local text = seen[field]
  if not text then
    text = redis.call('HGET', seen_from, field) or ''
    seen[field] = text
  end
  if text == '' then
    return ''
  end
  local from = string.find(text, string.sub(trace, FIELD + 1, FIELD + TAG), 1, true)
  if not from then
    return ''
  end
  local till = (string.find(text, '\127', from + TAG, true) or #text + 1) - 1
  return string.sub(text, from + TAG, till), from, till
end

-- Nothing: it is new. "same", its answer, its position, and the shopper's part; "reused": this id was used for something else;
-- "superseded": it is older than the stored answers; "full": it is new, and there is no room for it.
local function seen_before(trace, width)
  if trace == '' then
    return nil
  end
  local part = seen_part(trace)
  if part == '' then
    return nil
  end
  local mark = string.sub(trace, FIELD + TAG + 1, FIELD + TAG + MARK)
  local kept = math.min(#part, SEEN_KEPT * width)
  for at = 1, kept, width do
    if string.sub(part, at, at + MARK - 1) == mark then
      if string.sub(part, at + MARK, at + MARK + WHAT - 1) ~= string.sub(trace, -WHAT) then
        return 'reused'
      end
      return 'same', string.sub(part, at + MARK + WHAT, at + width - 1), at, part
    end
  end
  local at = string.find(part, mark, kept + 1, true)
  while at do
    if (at - kept - 1) % MARK == 0 then
      return 'superseded'
    end
    at = string.find(part, mark, at + 1, true)
  end
  return #part >= SEEN_KEPT * width + SEEN_OLDER * MARK and 'full' or nil
end

-- Stores a new command's answer, in the width of a record.
local function note_seen(trace, width, answer)
  if trace == '' then
    return
  end
  local field = string.sub(trace, 1, FIELD)
  local record = string.sub(trace, FIELD + TAG + 1) .. answer
  local part, from, till = seen_part(trace)
  if not from then
    seen[field] = seen[field] .. string.sub(trace, FIELD + 1, FIELD + TAG) .. record
  else
    local kept = SEEN_KEPT * width
    if #part >= kept + SEEN_OLDER * MARK then
      return
    end
    if #part >= kept then
      local last = kept - width + 1
      part = string.sub(part, 1, last + MARK - 1) .. string.sub(part, kept + 1)
    end
    local text = seen[field]
    seen[field] = string.sub(text, 1, from + TAG - 1) .. record .. part .. string.sub(text, till + 1)
  end
  seen_written[field] = true
end

-- Replaces the first byte of an answer by another one, in a shopper's stored records that have this byte.
local function change_seen(trace, width, byte, changed)
  local part, from, till = '', nil, nil
  if trace ~= '' then
    part, from, till = seen_part(trace)
  end
  local is_changed = false
  for at = MARK + WHAT + 1, math.min(#part, SEEN_KEPT * width), width do
    if string.sub(part, at, at) == byte then
      part, is_changed = string.sub(part, 1, at - 1) .. changed .. string.sub(part, at + 1), true
    end
  end
  if is_changed then
    local field = string.sub(trace, 1, FIELD)
    local text = seen[field]
    seen[field] = string.sub(text, 1, from + TAG - 1) .. part .. string.sub(text, till + 1)
    seen_written[field] = true
  end
end

local function write_seen(key)
  local fields = {}
  for field in pairs(seen_written) do
    fields[#fields + 1] = field
    fields[#fields + 1] = seen[field]
  end
  if #fields > 0 then
    redis.call('HSET', key, unpack(fields))
  end
end

-- A small number as one byte of an answer.
local function seen_number(number)
  return string.char(math.max(0, math.min(tonumber(number), 126)))
end
