-- Says that a chord's body was sent. ARGV: the beginning of its keys, how long that is known, in ms.

redis.call('DEL', ARGV[1] .. '.j', ARGV[1] .. '.t', ARGV[1] .. '.s', ARGV[1] .. '.d')
redis.call('SET', ARGV[1] .. '.c', 'done', 'PX', ARGV[2])
return 1
