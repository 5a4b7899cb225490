-- Ends a lease now, or says that it had ended.
--
-- ARGV  4 sandbox_id, '' for the current one
-- Answers {'released', doomed entry or ''} · {'already'} · {'refused', code}

local sandbox_id = ARGV[4]
local lease = settled(TAG)
if lease and (sandbox_id == '' or sandbox_id == lease.sandbox_id) then
  return { 'released', finish(lease, 'released') }
end
if sandbox_id == '' and redis.call('EXISTS', key('last-end', TAG)) == 1 then return { 'already' } end
local answer = absence(TAG, sandbox_id)
if answer[2] == 'released' then return { 'already' } end
return answer
