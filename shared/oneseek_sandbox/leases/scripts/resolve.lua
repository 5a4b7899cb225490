-- Answers the thread of a live sandbox.
--
-- ARGV  4 sandbox_id
-- Answers {'thread', scope, thread_id} · {'refused', reason of its end or 'unknown'}

local known = redis.call('HMGET', key('sandbox', ARGV[4]), 'tag', 'scope', 'thread_id', 'reason')
if known[4] == '' and settled(known[1]) then return { 'thread', known[2], known[3] } end
return absence('', ARGV[4])
