-- Keeps what Celery said, once, whoever hears it. ARGV: stream, how many are kept, for how long (ms), (unused), the key
-- that says it was heard, routing key, headers, body.

if redis.call('SET', ARGV[5], '1', 'NX', 'PX', 60000) then
  redis.call('XADD', ARGV[1], 'MAXLEN', '~', ARGV[2], '*', 'r', ARGV[6], 'h', ARGV[7], 'b', ARGV[8])
  redis.call('PEXPIRE', ARGV[1], ARGV[3])
end
return 1
