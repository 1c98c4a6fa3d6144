-- Stores revocations, and forgets those that have expired. ARGV: now, then for each: task id, until when, the fact.

local now = ARGV[1]
for index = 2, #ARGV, 3 do
  redis.call('HSET', REVOKED, ARGV[index], ARGV[index + 2])
  redis.call('ZADD', REVOKED_UNTIL, ARGV[index + 1], ARGV[index])
end
local expired = redis.call('ZRANGEBYSCORE', REVOKED_UNTIL, '-inf', now, 'LIMIT', 0, 1000)
if #expired > 0 then
  redis.call('HDEL', REVOKED, unpack(expired))
  redis.call('ZREM', REVOKED_UNTIL, unpack(expired))
end
return #expired
