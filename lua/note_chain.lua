-- note_chain: note how far the sale's audit log has come in Postgres, as the leader has read it.
-- KEYS: stock
-- ARGV: epoch, chain (as in lib/chain.lua), found (an end of another life that Postgres has; "-": none is to be forgotten)
-- Returns: "ok".
-- Atomic because an end must not be forgotten before somebody has looked for it.
local stock = KEYS[1]
local epoch, chain, found = ARGV[1], ARGV[2], ARGV[3]

local lane, failure = read_lane(stock, epoch, 'chain', 'chain_before')
if not lane then
  return failure
end
if lane.chain_before == found then
  redis.call('HDEL', stock, 'chain_before')
  lane.chain_before = 0
end
note_chain(stock, lane, chain)
return 'ok'
