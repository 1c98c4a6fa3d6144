-- Removes what waits in a queue. ARGV: now, queue. Returns how many that were.

local queue, purged = ARGV[2], 0
reap(ARGV[1])
for _, step in ipairs(steps_of(queue)) do
  local list = list_of(queue, step)
  purged = purged + redis.call('LLEN', list)
  redis.call('UNLINK', list)
end
purged = purged + redis.call('ZCARD', DUE .. queue)
redis.call('UNLINK', DUE .. queue, PARKED .. queue, LISTED .. queue, PRIORITIES .. queue)
return purged
