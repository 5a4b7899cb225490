-- Prolongs a creation and lifts its generation above the given one; of a committed one it changes
-- nothing.
--
-- ARGV  4 sandbox_id · 5 attempt · 6 creation_ms · 7 generation to be above, 0 for any
-- Answers {'creation', lease} · {'refused', 'creation_lost'}

local lease = held(TAG, ARGV[4], ARGV[5])
if not lease then return refused('creation_lost') end
if lease.state == 'ready' then return { 'creation', shown(lease) } end
local above = tonumber(ARGV[7])
if lease.generation <= above then lease.generation = next_generation(above) end
lease.deadline_ms = NOW + tonumber(ARGV[6])
write(lease)
return { 'creation', shown(lease) }
