-- Notes that nothing with a time limit runs in the background, where the lease is idle and not pinned.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen
-- Answers {'done'}

local lease = seen(TAG, ARGV[4], ARGV[5])
if not lease or NOW < lease.expires_ms then return { 'done' } end
local pins = redis.call('ZCOUNT', key('pins', TAG), '(' .. text(NOW), '+inf')
if background_until(lease) > 0 then pins = pins - 1 end
if pins == 0 then
  redis.call('ZREM', key('pins', TAG), BACKGROUND)
  write(lease)
end
return { 'done' }
