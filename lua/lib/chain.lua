-- How far the lane's audit chain has certainly come in Postgres: `chain` in the stock is "life number hash" of the last commit that
-- this lane has heard of. A sale of format 1 has one chain for all lanes. In others `sale_chain`, in the first lane, is the end of
-- the sale's own chain. A life is one run of Postgres. A Postgres that was promoted without its tail, or restored, uses row
-- numbers again. So the end left by another life is kept in `chain_before` until the leader has found it in Postgres.
local function parse_chain(text)
  return string.match(text, '^(%d+) (%d+) ')
end

local function is_further(text, than)
  local _, number = parse_chain(text)
  local _, known = parse_chain(than)
  return tonumber(number) > tonumber(known)
end

-- `told`: ends, separated by commas; "-": none. `name`: `chain` unless it is given.
local function note_chain(stock_key, lane, told, name)
  name = name or 'chain'
  local name_before = name .. '_before'
  local chain, before = lane[name], lane[name_before]
  for text in string.gmatch(told, '[^,]+') do
    local life = parse_chain(text)
    if life and text ~= chain and text ~= before then
      if chain == 0 then
        chain = text
      elseif life == parse_chain(chain) then
        chain = is_further(text, chain) and text or chain
      elseif before ~= 0 and life == parse_chain(before) then
        before = is_further(text, before) and text or before
      else
        chain, before = text, chain
      end
    end
  end
  if chain ~= lane[name] or before ~= lane[name_before] then
    redis.call('HSET', stock_key, name, chain, name_before, before)
  end
end
