-- Counts a chord's part, as Celery 5.7 does, in one step. ARGV: the beginning of its keys, member, its place (or +inf),
-- who it is (`task:place`), now and until when a claim lasts (µs), the claim's time to live and that of parts whose chord
-- has none (ms). Returns 'waiting', 'claimed', or the parts with their places. The claim is one member's: it gets it again.

local key = ARGV[1]
local parts, counted, claim = key .. '.j', key .. '.d', key .. '.c'
local claimed = redis.call('GET', claim)
if claimed == 'done' then return 'claimed' end
if redis.call('SADD', counted, ARGV[4]) == 1 then redis.call('ZADD', parts, ARGV[3], ARGV[2]) end
local ttl = redis.call('PTTL', key .. '.s')
if ttl <= 0 then ttl = tonumber(ARGV[8]) end
for _, kept in ipairs({parts, counted, key .. '.t'}) do redis.call('PEXPIRE', kept, ttl) end
local size, added = redis.call('GET', key .. '.s'), redis.call('GET', key .. '.t')
if not size or redis.call('ZCARD', parts) < tonumber(size) + tonumber(added or '0') then return 'waiting' end
if claimed then
  -- A worker of Celery holds it as long as the key lives; one of ours until the instant it names.
  local until_, member = string.match(claimed, '^celeriac:(%d+):(.*)$')
  if not until_ or (member ~= ARGV[4] and tonumber(until_) > tonumber(ARGV[5])) then return 'claimed' end
end
redis.call('SET', claim, 'celeriac:' .. ARGV[6] .. ':' .. ARGV[4], 'PX', ARGV[7])
return redis.call('ZRANGE', parts, 0, -1, 'WITHSCORES')
