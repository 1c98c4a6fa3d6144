-- Counts queues. ARGV: now, the queues; all known ones when none is named. Returns for each: name, ready, held, parked,
-- dead, and when the oldest that is ready was published (0: nobody knows, or there is none).

local queues, answer = {}, {}
for index = 2, #ARGV do queues[#queues + 1] = ARGV[index] end
if #queues == 0 then
  queues = redis.call('SMEMBERS', QUEUES)
  table.sort(queues)
end
for _, queue in ipairs(queues) do
  redis.call('ZREMRANGEBYSCORE', LISTED .. queue, '-inf', ARGV[1])
  local listed = redis.call('ZCARD', LISTED .. queue)
  local ready, oldest = 0, nil
  for _, step in ipairs(steps_of(queue)) do
    local list = list_of(queue, step)
    ready = ready + redis.call('LLEN', list)
    local front = redis.call('LINDEX', list, -1)
    local published = front and string.match(front, '^{"celeriac": %[%d+, %d+, (%d+), ')
    if published and published ~= '0' and (not oldest or tonumber(published) < tonumber(oldest)) then
      oldest = published
    end
  end
  local due = redis.call('ZCOUNT', DUE .. queue, '-inf', ARGV[1])
  local parked = redis.call('ZCARD', DUE .. queue) - due
  -- Those that a worker of Celery took away are counted until they are due: never below nothing.
  listed = math.min(listed, ready)
  for _, value in ipairs({queue, ready + due - listed, redis.call('HGET', HELD_COUNT, queue) or '0', parked + listed,
    redis.call('HGET', DEAD_COUNT, queue) or '0', oldest or '0'}) do
    answer[#answer + 1] = tostring(value)
  end
end
return answer
