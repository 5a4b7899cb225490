-- Reads a thread's lease; changes nothing, not even one that is over.
--
-- Answers {'lease', lease, how long an acquire would have to wait} · {'none'}
--       · {'unknown'} when its state is of a later version

local known, lease = pcall(read, TAG)
if not known then return { 'unknown' } end
if not lease then return { 'none' } end
local wait_until = busy_until(lease)
return { 'lease', shown(lease), text(wait_until > 0 and wait_until - NOW or 0) }
