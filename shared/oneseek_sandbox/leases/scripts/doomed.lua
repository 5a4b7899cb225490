-- Reads doomed entries, next due first.
--
-- ARGV  4 how many at most
-- Answers {'doomed', tries, entry, tries, entry...}

local answer = { 'doomed' }
for _, uid in ipairs(redis.call('ZRANGE', DOOMED, 0, tonumber(ARGV[4]) - 1)) do
  answer[#answer + 1] = redis.call('HGET', TRIES, uid) or '0'
  answer[#answer + 1] = redis.call('HGET', ENTRIES, uid)
end
return answer
