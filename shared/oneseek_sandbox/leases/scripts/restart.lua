-- Begins to start a ready sandbox again, or takes over a restart that lapsed.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen, '' for any · 6 attempt · 7 creation_ms
-- Answers {'creation', lease} · {'busy', until_ms, wait_ms} · {'refused', 'creation_lost'}

local lease = settled(TAG)
if not lease or not is_seen_by(lease, ARGV[4], ARGV[5]) or lease.state == 'creating' then
  return refused('creation_lost')
end
if lease.state == 'restarting' then
  if lease.attempt == ARGV[6] then return { 'creation', shown(lease) } end
  if NOW < lease.deadline_ms then
    return { 'busy', text(lease.deadline_ms), text(lease.deadline_ms - NOW) }
  end
end
lease.state, lease.attempt, lease.deadline_ms = 'restarting', ARGV[6], NOW + tonumber(ARGV[7])
write(lease)
return { 'creation', shown(lease) }
