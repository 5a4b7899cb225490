-- Marks a ready lease as suspect, or takes the mark away.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen, '' for any · 6 '1' or '0'
-- Answers {'done'}

local lease = seen(TAG, ARGV[4], ARGV[5])
if lease then redis.call('HSET', key('lease', TAG), 'suspect', ARGV[6]) end
return { 'done' }
