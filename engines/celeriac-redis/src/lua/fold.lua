-- Folds records and timeline entries into the history, and moves its cursor, unless another was first. ARGV: the
-- beginning of the keys, from (nothing: the beginning), to, how many entries a timeline keeps, how many records; for each
-- record: id, state, name, last heard of (µs), record; then for each entry: task id, entry. Returns 1, or 0 when another
-- was first.

local history = ARGV[1]
if (redis.call('GET', history .. '-cursor') or '') ~= ARGV[2] then return 0 end

local function count(name, state, by)
  for _, key in ipairs(name ~= '' and {history .. '-counts', history .. '-counts:' .. name} or {history .. '-counts'}) do
    if redis.call('HINCRBY', key, state, by) <= 0 then redis.call('HDEL', key, state) end
  end
end

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local id, state, name = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local key = history .. ':' .. id
  local before = redis.call('HMGET', key, 'state', 'name')
  if before[1] then count(before[2], before[1], -1) end
  count(name, state, 1)
  redis.call('HSET', key, 'state', state, 'name', name, 'record', ARGV[at + 4])
  redis.call('ZADD', history, ARGV[at + 3], id)
  at = at + 5
end
for index = at, #ARGV, 2 do
  local key = history .. '-timeline:' .. ARGV[index]
  if redis.call('RPUSH', key, ARGV[index + 1]) > tonumber(ARGV[4]) then redis.call('LPOP', key) end
end
redis.call('SET', history .. '-cursor', ARGV[3])
return 1
