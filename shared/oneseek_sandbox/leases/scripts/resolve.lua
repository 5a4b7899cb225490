-- Answers whose a sandbox is or was, and how it ended.
--
-- ARGV  4 sandbox_id
-- Answers {'thread', scope, thread_id, reason of its end or ''} · {'refused', 'unknown'}

local function known()
  return redis.call('HMGET', key('sandbox', ARGV[4]), 'tag', 'scope', 'thread_id', 'reason')
end

local found = known()
if found[4] == '' and not settled(found[1]) then found = known() end
if not found[1] then return refused('unknown') end
return { 'thread', found[2], found[3], found[4] }
