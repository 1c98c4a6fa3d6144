-- Publishes a batch. ARGV: now, then for each message: queue, step, due (0: now), rest of the envelope, unique key (or
-- nothing), its window in µs, task id. Returns for each the task that has its unique key, or nothing.

local now = tonumber(ARGV[1])
local answers, lists, known = {}, {}, {}
local count = (#ARGV - 1) / 7
local number = redis.call('INCRBY', SEQ, count) - count
for index = 0, count - 1 do
  local at = 2 + index * 7
  local queue, step, due, rest, unique = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local holder = ''
  if unique ~= '' then
    local taken = redis.call('GET', unique)
    local until_, id = string.match(taken or '', '^(%d+) (.*)$')
    if until_ and tonumber(until_) > now then
      holder = id
    else
      local window = tonumber(ARGV[at + 5])
      -- A little longer than needed: the window goes by the publishers' clocks, the key by the server's.
      redis.call('SET', unique, string.format('%.0f ', now + window) .. ARGV[at + 6], 'PX', string.format('%.0f', window / 1000 + 60000))
    end
  end
  if holder == '' then
    number = number + 1
    if not known[queue] then
      known[queue] = true
      redis.call('SADD', QUEUES, queue)
    end
    local is_due = due == '0' or tonumber(due) <= now
    local served = not STEPS
    if not is_due and STEPS then
      local until_ = redis.call('ZSCORE', SERVED, queue)
      served = until_ and tonumber(until_) > now
    end
    if not is_due and served then
      park(queue, step, due, 0, 0, ARGV[1], number, rest)
    else
      if not is_due then
        -- Only workers of Celery may be there, who wait for the instant by themselves.
        redis.call('ZADD', LISTED .. queue, due, string.format('%.0f', number))
      end
      local key = list_of(queue, step)
      if not lists[key] then
        lists[key] = {}
        noted(queue, step)
      end
      table.insert(lists[key], write(0, 0, ARGV[1], number, is_due and '0' or due, rest))
    end
  end
  answers[index + 1] = holder
end
for key, envelopes in pairs(lists) do bulk('LPUSH', key, envelopes) end
return answers
