-- Renews a lease. ARGV: now, start, until when it then lasts, description, whether to renew the marks in Celery's index,
-- number of queues, queues, then for each delivery: tag, attempt, task id. Returns for each delivery: 1 or 0 (lost), and
-- the revocation (or nothing).

local now, start, count = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[6])
redis.call('ZADD', CONSUMERS, ARGV[3], start)
redis.call('SET', CONSUMER .. start, ARGV[4])
for index = 1, count do redis.call('ZADD', SERVED, ARGV[3], ARGV[6 + index]) end
if ARGV[5] == '1' then
  local mark, marks = string.format('%.6f', now / 1000000 + MARK), {'XX'}
  for _, tag in ipairs(redis.call('HKEYS', HELD .. start)) do
    marks[#marks + 1] = mark
    marks[#marks + 1] = tag
    if #marks > UNPACK_MAX - 2 then
      redis.call('ZADD', UNACKED_INDEX, unpack(marks))
      marks = {'XX'}
    end
  end
  if #marks > 1 then redis.call('ZADD', UNACKED_INDEX, unpack(marks)) end
end
local tags, ids = {}, {}
for index = 7 + count, #ARGV, 3 do
  tags[#tags + 1] = ARGV[index]
  ids[#ids + 1] = ARGV[index + 2]
end
if #tags == 0 then return {} end
local records, facts, answers = fields('HMGET', HELD .. start, tags), {}, {}
if redis.call('EXISTS', REVOKED) == 1 then facts = fields('HMGET', REVOKED, ids) end
for index = 1, #tags do
  local record = records[index]
  local held = record and parse_held(record) == tonumber(ARGV[7 + count + (index - 1) * 3 + 1])
  answers[#answers + 1] = held and 1 or 0
  answers[#answers + 1] = facts[index] or ''
end
return answers
