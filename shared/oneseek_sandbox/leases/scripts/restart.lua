-- Begins to start a ready sandbox again, or takes over a restart that lapsed.
--
-- ARGV  4 sandbox_id · 5 attempt · 6 creation_ms
-- Answers {'creation', lease} · {'busy', until_ms, wait_ms} · {'refused', 'creation_lost'}

local lease = settled(TAG)
if not lease or lease.sandbox_id ~= ARGV[4] or lease.state == 'creating' then
  return refused('creation_lost')
end
if lease.state == 'restarting' then
  if lease.attempt == ARGV[5] then return { 'creation', shown(lease) } end
  if NOW < lease.deadline_ms then
    return { 'busy', text(lease.deadline_ms), text(lease.deadline_ms - NOW) }
  end
end
lease.state, lease.attempt, lease.deadline_ms = 'restarting', ARGV[5], NOW + tonumber(ARGV[6])
write(lease)
return { 'creation', shown(lease) }
