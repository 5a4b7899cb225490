-- Drops a doomed entry whose sandbox is proved gone.
--
-- ARGV  4 uid
-- Answers {'done'}

redis.call('ZREM', DOOMED, ARGV[4])
redis.call('HDEL', ENTRIES, ARGV[4])
redis.call('HDEL', TRIES, ARGV[4])
return { 'done' }
