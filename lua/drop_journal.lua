-- drop_journal: drop the oldest notes of the line's history, which are in Postgres by now.
-- KEYS: sale, journal
-- ARGV: count, first, last
--   first, last: these notes as they were read. If others stand there by now, somebody else has taken them away
-- Returns: "dropped" or "gone".
-- Atomic because only notes that were read may be dropped: a leader that was frozen in between is no longer the only one, and
-- the notes there now may be unread.
local sale, journal = KEYS[1], KEYS[2]
local count, first, last = tonumber(ARGV[1]), ARGV[2], ARGV[3]

if redis.call('LINDEX', journal, 0) ~= first or redis.call('LINDEX', journal, count - 1) ~= last then
  return { 'gone' }
end
redis.call('LTRIM', journal, count, -1)
if redis.call('EXISTS', journal) == 0 then
  redis.call('HSET', sale, 'has_journal', '0')
end
return { 'dropped' }
