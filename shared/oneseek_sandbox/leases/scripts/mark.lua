-- Sets a mark of a ready lease: whether it is suspect, or has a restart to be told.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen, '' for any · 6 'suspect' or 'restarted'
--       7 '1' or '0'
-- Answers {'done'}

local lease = seen(TAG, ARGV[4], ARGV[5])
if lease then redis.call('HSET', key('lease', TAG), ARGV[6], ARGV[7]) end
return { 'done' }
