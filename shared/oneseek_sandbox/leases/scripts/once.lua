-- True for the first call with a name; its repeat after a lost answer is the first call too.
--
-- ARGV  4 name · 5 how long it holds · 6 random token of the call
-- Answers {'once', '1' or '0'}

local name = key('once', ARGV[4])
redis.call('SET', name, ARGV[6], 'NX', 'PX', ARGV[5])
return { 'once', redis.call('GET', name) == ARGV[6] and '1' or '0' }
