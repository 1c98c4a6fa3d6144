-- Stores result documents as Celery does: set with a time to live, and told to whoever waits. ARGV: the longest time to
-- live of a fact beside a document that has none (ms), then for each: key, key of the attempt, state, attempt, document,
-- time to live in ms (0: for ever). Returns for each 1, or 0 when a newer attempt or a success was there.

-- The state that a document tells, which Celery writes first.
local function told(document)
  local state = string.match(document, '^%s*{%s*"status"%s*:%s*"([^"\\]*)"')
  if state then return state end
  local read, value = pcall(cjson.decode, document)
  if read and type(value) == 'table' and type(value.status) == 'string' then return value.status end
  return nil
end

local answers = {}
for at = 2, #ARGV, 6 do
  local key, beside, state, attempt = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local document, ttl = ARGV[at + 4], tonumber(ARGV[at + 5])
  local stored, fact = redis.call('GET', key), redis.call('GET', beside)
  local stale = false
  if stored then
    local stored_attempt, stored_state = 1, nil
    if fact then
      stored_attempt, stored_state = string.match(fact, '^(%d+) (.*)$')
      stored_attempt = tonumber(stored_attempt)
    end
    stale = (stored_state or told(stored)) == 'SUCCESS' or stored_attempt > attempt
  end
  if not stale then
    if ttl > 0 then redis.call('SET', key, document, 'PX', ARGV[at + 5]) else redis.call('SET', key, document) end
    -- Most documents tell everything by themselves: a first attempt, or a success, over which nothing is written.
    local tells = told(document) == state
    if tells and (attempt <= 1 or state == 'SUCCESS') then
      if fact then redis.call('DEL', beside) end
    else
      redis.call('SET', beside, attempt .. ' ' .. state, 'PX', ttl > 0 and ARGV[at + 5] or ARGV[1])
    end
    redis.call('PUBLISH', key, document)
  end
  answers[#answers + 1] = stale and 0 or 1
end
return answers
