-- Counts activity and lets a pin go; nothing happens when the lease is over or another one.
--
-- ARGV  4 sandbox_id · 5 pin id · 6 digest of a request_id that did not start, '' for none
--       7 boot_id that was seen
-- Answers {'done'}

local lease = settled(TAG)
if not lease or lease.state == 'creating' or lease.sandbox_id ~= ARGV[4] then return { 'done' } end
use(lease)
redis.call('ZREM', key('pins', TAG), ARGV[5])
if ARGV[6] ~= '' then
  local notes = key('requests', TAG)
  if redis.call('HGET', notes, ARGV[6]) == noted(ARGV[7], ARGV[5]) then
    redis.call('HDEL', notes, ARGV[6])
  end
end
write(lease)
-- Somebody may wait for the last operation of a sandbox whose lifetime has passed.
if is_retired(lease) then notify(TAG) end
return { 'done' }
