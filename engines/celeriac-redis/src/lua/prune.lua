-- Removes records last heard of before an instant. ARGV: the beginning of the keys, instant (µs), how many at the most.
-- Returns how many that were.

local history = ARGV[1]
local ids = redis.call('ZRANGEBYSCORE', history, '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  local key = history .. ':' .. id
  local state, name = unpack(redis.call('HMGET', key, 'state', 'name'))
  if state then
    for _, counts in ipairs(name ~= '' and {history .. '-counts', history .. '-counts:' .. name} or {history .. '-counts'}) do
      if redis.call('HINCRBY', counts, state, -1) <= 0 then redis.call('HDEL', counts, state) end
    end
  end
  redis.call('DEL', key, history .. '-timeline:' .. id)
  redis.call('ZREM', history, id)
end
return #ids
