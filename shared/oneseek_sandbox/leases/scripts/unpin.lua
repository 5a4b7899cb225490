-- Counts activity and lets a pin go; nothing happens when the lease is over or another one.
--
-- ARGV  4 sandbox_id · 5 pin id
-- Answers {'done'}

local lease = settled(TAG)
if not lease or lease.state == 'creating' or lease.sandbox_id ~= ARGV[4] then return { 'done' } end
use(lease)
redis.call('ZREM', key('pins', TAG), ARGV[5])
write(lease)
-- Somebody may wait for the last operation of a sandbox whose lifetime has passed.
if is_retired(lease) then notify(TAG) end
return { 'done' }
