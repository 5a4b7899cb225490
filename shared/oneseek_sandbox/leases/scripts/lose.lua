-- Ends a ready lease whose sandbox is gone.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen, '' for any
-- Answers {'lost', doomed entry}, '' when it is not the current one any more

local lease = seen(TAG, ARGV[4], ARGV[5])
return { 'lost', lease and finish(lease, 'lost') or '' }
