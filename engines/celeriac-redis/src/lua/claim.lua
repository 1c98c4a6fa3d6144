-- Claims messages: one atomic step from the lists into a consumer's hands. ARGV: now, start, until when the lease then
-- lasts, how many at the most, how many bytes at the most, at which queue to begin, the consumer's description, the queues.
-- Returns: whether anything is revoked, when to look again (µs), then for each: queue (its number), step, tag, envelope.

local now, start, until_, limit, bytes_left = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local first_queue, queues = tonumber(ARGV[6]), {}
for index = 8, #ARGV do queues[#queues + 1] = ARGV[index] end

reap(ARGV[1])
redis.call('ZADD', CONSUMERS, until_, start)
redis.call('SET', CONSUMER .. start, ARGV[7])
for _, queue in ipairs(queues) do
  redis.call('ZADD', SERVED, until_, queue)
  promote(queue, ARGV[1])
end

local mark = string.format('%.6f', now / 1000000 + MARK)
local answer = {redis.call('EXISTS', REVOKED), 0}
local index_args, unacked_args, held_args, counts = {}, {}, {}, {}
local claimed, overdue = 0, {}

-- Takes one message off a list; false when it was only parked.
local function take(number, queue, queue_json, step, envelope)
  local attempt, losses, published, place, due, rest = read(envelope)
  if due ~= '0' then
    -- It lay there for workers of Celery, when none of ours was there.
    redis.call('ZREM', LISTED .. queue, string.format('%.0f', place))
    park(queue, step, due, attempt, losses, published, place, rest)
    overdue[queue] = overdue[queue] or tonumber(due) <= now
    return false
  end
  local tag = string.match(envelope, '.*"delivery_tag"%s*:%s*"([^"\\]*)"')
  if not tag or tag == '' or string.sub(envelope, 1, 1) ~= '{' or string.sub(envelope, -1) ~= '}' then
    tag = string.format('stray-%.0f', redis.call('INCR', SEQ))
    redis.call('HSET', STRAYS, tag, envelope)
  else
    if string.find(rest, '"redelivered": true', 1, true) then
      -- Somebody held it under this tag, may still be alive, and may settle it: it gets another.
      local fresh = string.format('%s.%.0f', string.sub(tag, 1, 36), redis.call('INCR', SEQ))
      local from = string.match(rest, '.*"delivery_tag"%s*:%s*"()')
      rest = string.sub(rest, 1, from - 1) .. fresh .. string.sub(rest, from + #tag)
      tag = fresh
    end
    if place == 0 then place = redis.call('INCR', SEQ) end
    local held = write(attempt + 1, losses, published, place, '0', rest)
    index_args[#index_args + 1] = mark
    index_args[#index_args + 1] = tag
    unacked_args[#unacked_args + 1] = tag
    unacked_args[#unacked_args + 1] = '[' .. held .. ', "", ' .. queue_json .. ']'
  end
  held_args[#held_args + 1] = tag
  held_args[#held_args + 1] = string.format('%d %d %s', attempt + 1, step, queue)
  answer[#answer + 1] = number
  answer[#answer + 1] = step
  answer[#answer + 1] = tag
  answer[#answer + 1] = envelope
  counts[queue] = (counts[queue] or 0) + 1
  claimed = claimed + 1
  bytes_left = bytes_left - #envelope
  return true
end

local function serve(number, want)
  local queue = queues[number]
  local queue_json = json(queue)
  for _, step in ipairs(steps_of(queue)) do
    local list = list_of(queue, step)
    while want > 0 and bytes_left > 0 do
      local asked = math.min(want, 64)
      local envelopes = redis.call('RPOP', list, asked)
      if not envelopes then
        if not STEPS then redis.call('ZREM', PRIORITIES .. queue, step) end
        break
      end
      for _, envelope in ipairs(envelopes) do
        if take(number, queue, queue_json, step, envelope) then want = want - 1 end
      end
    end
    if want <= 0 then return end
  end
end

-- Each queue gets its share first, beginning with another one each time; then whoever has more.
local share = math.ceil(limit / #queues)
for round = 1, 2 do
  for offset = 0, #queues - 1 do
    local want = math.min(round == 1 and share or limit, limit - claimed)
    if want > 0 and bytes_left > 0 then serve((first_queue + offset) % #queues + 1, want) end
  end
  for queue, any in pairs(overdue) do
    if any then promote(queue, ARGV[1]) end
  end
  overdue = {}
end

if claimed > 0 then
  if #index_args > 0 then
    bulk('ZADD', UNACKED_INDEX, index_args)
    bulk('HSET', UNACKED, unacked_args)
  end
  bulk('HSET', HELD .. start, held_args)
  count_held(counts)
  return answer
end

-- Nothing: when may there be something without anybody pushing it?
local again = tonumber(until_)
for _, queue in ipairs(queues) do
  local next_due = redis.call('ZRANGE', DUE .. queue, 0, 0, 'WITHSCORES')
  if next_due[2] then again = math.min(again, tonumber(next_due[2])) end
end
local ends = redis.call('ZRANGE', CONSUMERS, 0, 1, 'WITHSCORES')
for index = 1, #ends, 2 do
  if ends[index] ~= start then again = math.min(again, tonumber(ends[index + 1])) end
end
answer[2] = string.format('%.0f', again)
return answer
