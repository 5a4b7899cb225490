-- Counts activity and holds the lease for an operation.
--
-- ARGV  4 sandbox_id, '' for the current one · 5 pin id · 6 longest hold, in milliseconds
-- Answers {'lease', lease} · {'refused', code}

local sandbox_id = ARGV[4]
local lease = settled(TAG)
if not lease or (sandbox_id ~= '' and sandbox_id ~= lease.sandbox_id) then
  return absence(TAG, sandbox_id)
end
if lease.state == 'creating' then return refused('being_created') end
if lease.state == 'restarting' then return refused('restarting') end
if is_retired(lease) then return refused(sandbox_id ~= '' and 'expired' or 'no_lease') end
use(lease)
redis.call('ZADD', key('pins', TAG), text(NOW + tonumber(ARGV[6])), ARGV[5])
write(lease)
return { 'lease', shown(lease) }
