-- Ends leases that are over, longest due first; costs what is due.
--
-- ARGV  4 how many at most
-- Answers {'expired', doomed entry...}

local answer = { 'expired' }
local due = redis.call('ZRANGEBYSCORE', LIVE, '-inf', text(NOW), 'LIMIT', 0, tonumber(ARGV[4]))
for _, tag in ipairs(due) do
  local lease = read(tag)
  local entry = lease and finish_over(lease) or ''
  if entry ~= '' then answer[#answer + 1] = entry end
  if not lease then redis.call('ZREM', LIVE, tag) end
end
return answer
