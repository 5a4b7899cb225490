-- Puts or takes away the mark of suspicion on a ready lease.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen, '' for any · 6 '1' for suspect, '0' for clear
-- Answers {'done'}

local lease = seen(TAG, ARGV[4], ARGV[5])
if lease then redis.call('HSET', key('lease', TAG), 'suspect', ARGV[6]) end
return { 'done' }
