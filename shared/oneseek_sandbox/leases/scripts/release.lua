-- Ends a lease now, or says that it had ended.
--
-- ARGV  4 sandbox_id, '' for the current one · 5 the greatest generation with which the runtime has
--       sandboxes of the thread labelled, 0 for none · 6 scope · 7 thread_id
-- Answers {'released', doomed entry or '', generation up to which all is over} · {'already'}
--       · {'refused', code}

local sandbox_id = ARGV[4]
local lease = settled(TAG)
if lease and (sandbox_id == '' or sandbox_id == lease.sandbox_id) then
  -- Of all that was labelled until now, with whatever generation, nothing comes back.
  local over = next_generation(lease.generation)
  return { 'released', finish(lease, 'released', over), text(over) }
end
local found = tonumber(ARGV[5])
if not lease and found > 0 then
  local over = next_generation(found)
  redis.call('SET', key('last-end', TAG), text(over), 'PX', ENDED_MS)
  if sandbox_id ~= '' and redis.call('EXISTS', key('sandbox', sandbox_id)) == 0 then
    redis.call('HSET', key('sandbox', sandbox_id), 'tag', TAG, 'scope', ARGV[6],
      'thread_id', ARGV[7], 'reason', 'released')
    redis.call('PEXPIRE', key('sandbox', sandbox_id), ENDED_MS)
  end
  return { 'released', '', text(over) }
end
if sandbox_id == '' and redis.call('EXISTS', key('last-end', TAG)) == 1 then return { 'already' } end
local answer = absence(TAG, sandbox_id)
if answer[2] == 'released' then return { 'already' } end
return answer
