-- note_chain: note how far an audit chain of the sale has come in Postgres, as the leader has read it.
-- KEYS: stock
-- ARGV: epoch, chain (as in lib/chain.lua), found, of
--   found: an end of another life that Postgres has; "-": none is to be forgotten
--   of: "lane": the lane's chain; "sale": the sale's own, which its first lane keeps
-- Returns: "ok".
-- Atomic because an end must not be forgotten before somebody has looked for it.
local stock = KEYS[1]
local epoch, chain, found, of = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local name = of == 'sale' and 'sale_chain' or 'chain'

local lane, failure = read_lane(stock, epoch, name, name .. '_before')
if not lane then
  return failure
end
if lane[name .. '_before'] == found then
  redis.call('HDEL', stock, name .. '_before')
  lane[name .. '_before'] = 0
end
note_chain(stock, lane, chain, name)
return 'ok'
