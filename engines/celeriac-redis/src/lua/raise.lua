-- Takes entries out of the dead set. ARGV: whether they go back into their queues, the rest of another envelope (or
-- nothing), the entries. Returns how many were found.

local again, other, found = ARGV[1] == '1', ARGV[2], 0
for index = 3, #ARGV do
  local key = DEAD .. ':' .. ARGV[index]
  local queue, step, envelope, stray = unpack(redis.call('HMGET', key, 'queue', 'step', 'envelope', 'stray'))
  if queue then
    found = found + 1
    redis.call('DEL', key)
    redis.call('ZREM', DEAD, ARGV[index])
    if redis.call('HINCRBY', DEAD_COUNT, queue, -1) <= 0 then redis.call('HDEL', DEAD_COUNT, queue) end
    if again then
      step = tonumber(step)
      if stray ~= '1' or other ~= '' then
        local attempt, _, published, _, _, rest = read(envelope)
        if other ~= '' then rest = other end
        envelope = write(attempt, 0, published, redis.call('INCR', SEQ), '0', rest)
      end
      redis.call('LPUSH', list_of(queue, step), envelope)
      redis.call('SADD', QUEUES, queue)
      noted(queue, step)
    end
  end
end
return found
