-- Makes the lease ready and gives notice; a repeat by the same attempt answers the lease.
--
-- ARGV  4 sandbox_id · 5 attempt · 6 lifetime_ms, 0 for none
--       7 when an adopted sandbox was made, 0 for now · 8 its idle_ms, 0 for the creation's
--       9 '1' when nobody acquired it: a restart is then no activity
--       10 labels of an adopted sandbox, '' for none · 11 '1' when it had variables
--       12... placement, names and values
-- Answers {'lease', lease} · {'refused', 'creation_lost'}

local lease = held(TAG, ARGV[4], ARGV[5])
if not lease then return refused('creation_lost') end
if lease.state == 'ready' then return { 'lease', shown(lease) } end
if lease.state == 'creating' or ARGV[9] ~= '1' then lease.used_ms = NOW end
if lease.state == 'creating' then
  local lifetime_ms, made_ms, idle_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
  lease.created_ms = made_ms > 0 and math.min(made_ms, NOW) or NOW
  lease.ends_ms = lifetime_ms > 0 and lease.created_ms + lifetime_ms or 0
  if idle_ms > 0 then lease.idle_ms = idle_ms end
  if (lease.labels or '') == '' then lease.labels = ARGV[10] end
  lease.env_lost = not lease.env_version and ARGV[11] or '0'
end
lease.state, lease.suspect = 'ready', '0'
lease.teller, lease.telling_ms = '', 0
redis.call('ZREM', key('pins', TAG), BACKGROUND)  -- of a process before this one
for i = 12, #ARGV, 2 do lease[ARGV[i]] = ARGV[i + 1] end
write(lease)
notify(TAG)
return { 'lease', shown(lease) }
