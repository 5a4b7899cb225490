-- Makes the lease ready and gives notice; a repeat by the same attempt answers the lease.
--
-- ARGV  4 sandbox_id · 5 attempt · 6 lifetime_ms, 0 for none · 7... placement, names and values
-- Answers {'lease', lease} · {'refused', 'creation_lost'}

local lease = held(TAG, ARGV[4], ARGV[5])
if not lease then return refused('creation_lost') end
if lease.state == 'ready' then return { 'lease', shown(lease) } end
if lease.state == 'creating' then
  local lifetime_ms = tonumber(ARGV[6])
  lease.created_ms = NOW
  lease.ends_ms = lifetime_ms > 0 and NOW + lifetime_ms or 0
end
lease.state, lease.used_ms, lease.suspect = 'ready', NOW, '0'
for i = 7, #ARGV, 2 do lease[ARGV[i]] = ARGV[i + 1] end
write(lease)
notify(TAG)
return { 'lease', shown(lease) }
