-- The name of this life of the Redis process. A lane that was opened in another life may have lost its last moments (a
-- restart), minutes (an older file) or its tail (a promoted replica): it is not used until it was rebuilt from Postgres.
local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

