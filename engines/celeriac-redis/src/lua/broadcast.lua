-- Broadcasts notices. ARGV: stream, how many are kept, for how long (ms), the binding of the channel, then for each:
-- routing key, headers, body, Celery's topic, Celery's envelope, and the mailbox it is for (or nothing).

for at = 5, #ARGV, 6 do
  local mailbox = ARGV[at + 5]
  local member = ARGV[at] .. SEPARATOR .. SEPARATOR .. mailbox
  if mailbox ~= '' and redis.call('SISMEMBER', ARGV[4], member) == 1 then
    redis.call('LPUSH', PREFIX .. mailbox, ARGV[at + 4])
  else
    redis.call('XADD', ARGV[1], 'MAXLEN', '~', ARGV[2], '*', 'r', ARGV[at], 'h', ARGV[at + 1], 'b', ARGV[at + 2])
    if mailbox == '' then redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4]) end
  end
end
redis.call('PEXPIRE', ARGV[1], ARGV[3])
return 1
