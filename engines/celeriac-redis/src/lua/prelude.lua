-- Stands before every script, behind the names of `layout.rs`. Times are microseconds unless said otherwise.

-- How many values one command gets: Lua can unpack some 8,000.
local UNPACK_MAX = 4000
-- How many messages at the front of a list are looked at to put others back in their places.
local PULL_MAX = 1000
-- How many parked messages one script promotes.
local PROMOTE_MAX = 1000
-- How many lost consumers one script clears up after.
local REAP_MAX = 16

-- Calls a command with many values, in pieces.
local function bulk(command, key, values)
  for first = 1, #values, UNPACK_MAX do
    redis.call(command, key, unpack(values, first, math.min(first + UNPACK_MAX - 1, #values)))
  end
end

-- Reads many fields, in pieces.
local function fields(command, key, names)
  local found = {}
  for first = 1, #names, UNPACK_MAX do
    local last = math.min(first + UNPACK_MAX - 1, #names)
    for index, value in ipairs(redis.call(command, key, unpack(names, first, last))) do
      found[first + index - 1] = value
    end
  end
  return found
end

local function list_of(queue, step)
  if step == 0 then return PREFIX .. queue end
  return PREFIX .. queue .. SEPARATOR .. string.format('%d', step)
end

-- The steps of a queue, the one that is served first first.
local function steps_of(queue)
  if STEPS then return STEPS end
  local steps = redis.call('ZREVRANGE', PRIORITIES .. queue, 0, -1)
  for index, step in ipairs(steps) do steps[index] = tonumber(step) end
  return steps
end

local function noted(queue, step)
  if not STEPS then redis.call('ZADD', PRIORITIES .. queue, step, step) end
end

-- Reads what stands before the rest of an envelope: attempt, losses, published, number, due (as text), rest. One that
-- never went through our hands has nothing there.
local function read(envelope)
  local attempt, losses, published, number, due, at =
    string.match(envelope, '^{"celeriac": %[(%d+), (%d+), (%d+), (%d+), (%d+)%], ()')
  if not attempt then return 0, 0, '0', 0, '0', string.sub(envelope, 2) end
  return tonumber(attempt), tonumber(losses), published, tonumber(number), due, string.sub(envelope, at)
end

local function write(attempt, losses, published, number, due, rest)
  return string.format('{"celeriac": [%d, %d, %s, %.0f, %s], ', attempt, losses, published, number, due) .. rest
end

-- Who comes first at the front of a list. A message that Celery published got its number when it was taken first; it
-- was in front then, and goes to the front again.
local function rank(published, number)
  if published == '0' then return number - 4503599627370496 end
  return number
end

local function rank_of(envelope)
  local published, number = string.match(envelope, '^{"celeriac": %[%d+, %d+, (%d+), (%d+), ')
  if not published then return nil end
  return rank(published, tonumber(number))
end

-- Marks a message as redelivered in the two places where Celery looks.
local function mark_redelivered(rest)
  if string.find(rest, '"redelivered": true', 1, true) then return rest end
  local from, to = string.find(rest, '"headers": {', 1, true)
  if from then
    local separator = string.sub(rest, to + 1, to + 1) == '}' and '' or ', '
    rest = string.sub(rest, 1, to) .. '"redelivered": true' .. separator .. string.sub(rest, to + 1)
  end
  from, to = string.find(rest, '"delivery_info": {"', 1, true)
  if from then
    rest = string.sub(rest, 1, to - 1) .. '"redelivered": true, ' .. string.sub(rest, to)
  end
  return rest
end

-- Puts messages back to the front of a list, each before those that came later. `items` are `{rank, envelope}`.
local function put_back(queue, step, items)
  local list = list_of(queue, step)
  local last = items[1][1]
  for _, item in ipairs(items) do last = math.max(last, item[1]) end
  for _ = 1, PULL_MAX do
    local front = redis.call('LINDEX', list, -1)
    local place = front and rank_of(front)
    if not place or place >= last then break end
    redis.call('RPOP', list)
    items[#items + 1] = {place, front}
  end
  table.sort(items, function(one, other) return one[1] > other[1] end)
  local envelopes = {}
  for index, item in ipairs(items) do envelopes[index] = item[2] end
  bulk('RPUSH', list, envelopes)
  noted(queue, step)
end

-- Collects messages by list, to be put back together.
local function collect(lists, queue, step, item)
  local key = step .. ' ' .. queue
  local list = lists[key]
  if not list then
    list = {queue = queue, step = step, items = {}}
    lists[key] = list
    lists[#lists + 1] = list
  end
  list.items[#list.items + 1] = item
end

local function put_all_back(lists)
  for _, list in ipairs(lists) do put_back(list.queue, list.step, list.items) end
end

-- The envelope within a value of `unacked`, which says where it came from after it.
local function unwrap(value, queue_json)
  return string.sub(value, 2, -(#', "", ' + #queue_json + #']') - 1)
end

-- A queue's name as JSON. Names have no control characters.
local function json(text)
  return '"' .. string.gsub(text, '[\\"]', '\\%0') .. '"'
end

-- Attempt, priority and queue of what is held, and whether it is known to run (see `begin.lua`).
local function parse_held(record)
  local attempt, begun, step, queue = string.match(record, '^(%d+)(!?) (%d+) (.*)$')
  return tonumber(attempt), tonumber(step), queue, begun == '!'
end

local function count_held(counts)
  for queue, by in pairs(counts) do
    if by ~= 0 and redis.call('HINCRBY', HELD_COUNT, queue, by) <= 0 then redis.call('HDEL', HELD_COUNT, queue) end
  end
end

-- Takes messages out of a consumer's hands: `tags` with their `records`. Each is given to `with(index, envelope, step,
-- queue, stray)`; those whose bytes are gone (their former holder at Celery settled them) are passed over.
local function take_out(start, tags, records, with)
  local values, strays, counts = fields('HMGET', UNACKED, tags), {}, {}
  for index, tag in ipairs(tags) do
    local _, step, queue = parse_held(records[index])
    counts[queue] = (counts[queue] or 0) - 1
    local value = values[index]
    if value then
      with(index, unwrap(value, json(queue)), step, queue, false)
    else
      local stray = redis.call('HGET', STRAYS, tag)
      if stray then
        strays[#strays + 1] = tag
        with(index, stray, step, queue, true)
      end
    end
  end
  bulk('HDEL', UNACKED, tags)
  bulk('ZREM', UNACKED_INDEX, tags)
  bulk('HDEL', HELD .. start, tags)
  if #strays > 0 then bulk('HDEL', STRAYS, strays) end
  count_held(counts)
end

-- Gives back everything that a consumer holds, but what is `kept`.
local function give_back(start, losses, kept)
  local held = redis.call('HGETALL', HELD .. start)
  local tags, records, lists = {}, {}, {}
  for index = 1, #held, 2 do
    if not kept or not kept[held[index]] then
      tags[#tags + 1] = held[index]
      records[#records + 1] = held[index + 1]
    end
  end
  if #tags == 0 then return end
  take_out(start, tags, records, function(index, envelope, step, queue, stray)
    local _, _, _, begun = parse_held(records[index])
    if stray then
      collect(lists, queue, step, {-9007199254740992, envelope})
    else
      local attempt, lost, published, number, due, rest = read(envelope)
      -- The first loss makes it a suspect; what only waited in a lost worker's hands is not convicted by more.
      if begun or lost == 0 then lost = lost + losses end
      local again = write(attempt, lost, published, number, due, mark_redelivered(rest))
      collect(lists, queue, step, {rank(published, number), again})
    end
  end)
  put_all_back(lists)
end

-- Gives back what lost consumers held.
local function reap(now)
  for _, start in ipairs(redis.call('ZRANGEBYSCORE', CONSUMERS, '-inf', now, 'LIMIT', 0, REAP_MAX)) do
    give_back(start, 1)
    redis.call('ZREM', CONSUMERS, start)
    redis.call('DEL', CONSUMER .. start)
  end
end

-- Parks a message until it is due.
local function park(queue, step, due, attempt, losses, published, number, rest)
  local member = string.format('%016.0f:%d', number, step)
  redis.call('ZADD', DUE .. queue, due, member)
  redis.call('HSET', PARKED .. queue, member, write(attempt, losses, published, number, due, rest))
end

-- Puts what has become due behind everything else in its list, in the order of the due times.
local function promote(queue, now)
  local members = redis.call('ZRANGEBYSCORE', DUE .. queue, '-inf', now, 'LIMIT', 0, PROMOTE_MAX)
  if #members == 0 then return end
  local envelopes, lists = fields('HMGET', PARKED .. queue, members), {}
  local first = redis.call('INCRBY', SEQ, #members) - #members
  for index, member in ipairs(members) do
    if envelopes[index] then
      local step = tonumber(string.match(member, ':(%d+)$'))
      local attempt, losses, published, _, _, rest = read(envelopes[index])
      lists[step] = lists[step] or {}
      table.insert(lists[step], write(attempt, losses, published, first + index, '0', rest))
    end
  end
  for step, promoted in pairs(lists) do
    bulk('LPUSH', list_of(queue, step), promoted)
    noted(queue, step)
  end
  bulk('ZREM', DUE .. queue, members)
  bulk('HDEL', PARKED .. queue, members)
end
