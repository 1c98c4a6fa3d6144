-- Ends a consumer: everything it holds goes back, counting no loss. ARGV: start, its queues.

local start = ARGV[1]
give_back(start, 0)
redis.call('ZREM', CONSUMERS, start)
redis.call('DEL', CONSUMER .. start)
-- The others say so again at their next claim or renewal; until then publications with a due time go to Celery's lists.
for index = 2, #ARGV do redis.call('ZREM', SERVED, ARGV[index]) end
return 1
