-- Settles deliveries. ARGV: now, start, then for each: how (a, r, l, p, d), tag, attempt, and two values: p: due and the
-- rest of another envelope (or nothing); d: reason and detail. Returns for each 1, or 0 when it was not this consumer's.

local now, start = tonumber(ARGV[1]), ARGV[2]
local count = (#ARGV - 2) / 5
local answers, lists, seen, tags = {}, {}, {}, {}
for index = 0, count - 1 do
  tags[index + 1] = ARGV[3 + index * 5 + 1]
end
local records = fields('HMGET', HELD .. start, tags)
local scores = fields('ZMSCORE', UNACKED_INDEX, tags)
-- Ours lie well ahead of the time; what a worker of Celery takes gets the time itself.
local ours_from = now / 1000000 + MARK / 6

local out_tags, out_records, out_at = {}, {}, {}
for index = 0, count - 1 do
  local at = 3 + index * 5
  local tag, record, score = tags[index + 1], records[index + 1], scores[index + 1]
  local stray = string.sub(tag, 1, 6) == 'stray-'
  local ours = record and not seen[tag]
    and parse_held(record) == tonumber(ARGV[at + 2])
    and (stray or (score and tonumber(score) >= ours_from))
  answers[index + 1] = ours and 1 or 0
  if ours then
    seen[tag] = true
    out_tags[#out_tags + 1] = tag
    out_records[#out_records + 1] = record
    out_at[#out_at + 1] = at
  elseif record and not stray and not score and not seen[tag] then
    -- Its former holder at Celery has settled it: there is nothing left to hold.
    local _, _, queue = parse_held(record)
    seen[tag] = true
    redis.call('HDEL', HELD .. start, tag)
    count_held({[queue] = -1})
  end
end
if #out_tags == 0 then return answers end

-- Most are only acknowledged: nobody has to look at their bytes then.
local all_done = true
for _, at in ipairs(out_at) do all_done = all_done and ARGV[at] == 'a' end
if all_done then
  local counts, strays = {}, {}
  for index, tag in ipairs(out_tags) do
    local _, _, queue = parse_held(out_records[index])
    counts[queue] = (counts[queue] or 0) - 1
    if string.sub(tag, 1, 6) == 'stray-' then strays[#strays + 1] = tag end
  end
  bulk('HDEL', UNACKED, out_tags)
  bulk('ZREM', UNACKED_INDEX, out_tags)
  bulk('HDEL', HELD .. start, out_tags)
  if #strays > 0 then bulk('HDEL', STRAYS, strays) end
  count_held(counts)
  return answers
end

take_out(start, out_tags, out_records, function(index, envelope, step, queue, stray)
  local at = out_at[index]
  local how = ARGV[at]
  if how == 'a' then return end
  local attempt, losses, published, number, _, rest = read(envelope)
  if stray then attempt, published, rest = tonumber(ARGV[at + 2]), ARGV[1], envelope end
  if how == 'l' then losses = losses + 1 end
  if how == 'r' or how == 'l' then
    if stray then
      collect(lists, queue, step, {-9007199254740992, envelope})
    else
      local again = write(attempt, losses, published, number, '0', mark_redelivered(rest))
      collect(lists, queue, step, {rank(published, number), again})
    end
  elseif how == 'p' then
    if number == 0 then number = redis.call('INCR', SEQ) end
    if ARGV[at + 4] ~= '' then rest = ARGV[at + 4] elseif not stray then rest = mark_redelivered(rest) end
    park(queue, step, ARGV[at + 3], attempt, losses, published, number, rest)
  else
    local entry = string.format('%.0f', redis.call('INCR', SEQ))
    redis.call('ZADD', DEAD, entry, entry)
    redis.call('HSET', DEAD .. ':' .. entry, 'queue', queue, 'step', step, 'reason', ARGV[at + 3], 'detail', ARGV[at + 4],
      'died_at', ARGV[1], 'envelope', envelope, 'stray', stray and '1' or '0')
    redis.call('HINCRBY', DEAD_COUNT, queue, 1)
  end
end)
put_all_back(lists)
return answers
