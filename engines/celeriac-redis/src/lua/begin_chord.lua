-- Says how many parts a chord has. ARGV: the beginning of its keys, size, time to live in ms.

if redis.call('GET', ARGV[1] .. '.c') ~= 'done' then
  redis.call('SET', ARGV[1] .. '.s', ARGV[2], 'PX', ARGV[3])
end
return 1
