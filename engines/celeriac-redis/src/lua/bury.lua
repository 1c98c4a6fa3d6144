-- Puts a message into the dead set that never was a delivery. ARGV: now, queue, step, reason, detail, rest.

local entry = string.format('%.0f', redis.call('INCR', SEQ))
redis.call('ZADD', DEAD, entry, entry)
redis.call('HSET', DEAD .. ':' .. entry, 'queue', ARGV[2], 'step', ARGV[3], 'reason', ARGV[4], 'detail', ARGV[5],
  'died_at', ARGV[1], 'envelope', write(0, 0, ARGV[1], 0, '0', ARGV[6]), 'stray', '0')
redis.call('HINCRBY', DEAD_COUNT, ARGV[2], 1)
redis.call('SADD', QUEUES, ARGV[2])
return entry
