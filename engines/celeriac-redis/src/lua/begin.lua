-- Notes that deliveries begin to run that were lost before. ARGV: start, then for each: tag, attempt.

for at = 2, #ARGV, 2 do
  local record = redis.call('HGET', HELD .. ARGV[1], ARGV[at])
  if record and parse_held(record) == tonumber(ARGV[at + 1]) then
    redis.call('HSET', HELD .. ARGV[1], ARGV[at], (string.gsub(record, '^(%d+) ', '%1! ')))
  end
end
return 1
