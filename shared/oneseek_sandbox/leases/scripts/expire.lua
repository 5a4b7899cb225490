-- Ends leases that are over, longest due first; costs what is due.
--
-- ARGV  4 how many at most
-- Answers {'expired', '1' when more are over else '0', doomed entry...}

local limit = tonumber(ARGV[4])
local due = redis.call('ZRANGEBYSCORE', LIVE, '-inf', text(NOW), 'LIMIT', 0, limit + 1)
local answer = { 'expired', #due > limit and '1' or '0' }
for i = 1, math.min(#due, limit) do
  local known, lease = pcall(read, due[i])
  if not known then
    -- Its own version ends it; nothing else may wait for that.
    redis.call('ZADD', LIVE, text(NOW + 60000), due[i])
  elseif not lease then
    redis.call('ZREM', LIVE, due[i])
  else
    local entry = finish_over(lease)
    if entry ~= '' then answer[#answer + 1] = entry end
  end
end
return answer
