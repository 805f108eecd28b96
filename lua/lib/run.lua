-- The name of this life of the Redis process. A lane that was opened in another life may have lost its last moments (a restart),
-- minutes (an older file) or its tail (a promoted replica): it is not used until it is rebuilt from Postgres.
local function this_run()
  local info = redis.call('INFO', 'server')
  local _, last = string.find(info, 'run_id:', 1, true)
  return string.sub(info, last + 1, last + 40)
end

