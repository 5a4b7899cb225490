-- Takes doomed entries that are due, longest due first, and puts each off, longer with each look.
--
-- ARGV  4 how many at most · 5 first pause · 6 how often it doubles at most
-- Answers {'doomed', tries, entry, tries, entry...}

local limit, first, doublings = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local answer = { 'doomed' }
-- Functions of an earlier version forget an entry, and not how often it was tried.
if redis.call('ZCARD', DOOMED) == 0 then redis.call('DEL', TRIES) end
for _, uid in ipairs(redis.call('ZRANGEBYSCORE', DOOMED, '-inf', text(NOW), 'LIMIT', 0, limit)) do
  local tries = redis.call('HINCRBY', TRIES, uid, 1) - 1
  local pause = first * 2 ^ math.min(tries, doublings)
  redis.call('ZADD', DOOMED, text(NOW + pause), uid)
  answer[#answer + 1] = text(tries)
  answer[#answer + 1] = redis.call('HGET', ENTRIES, uid)
end
return answer
