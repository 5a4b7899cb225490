-- What is new of a ready lease's sandbox (it is fresh, or was restarted) is told by one acquire;
-- whoever waits for it gets notice when that was heard, or is for others to tell.
--
-- ARGV  4 sandbox_id · 5 boot_id that was seen, '' for any · 6 teller
--       7 'take', 'heard' or 'unheard' · 8 how long a teller is waited for
-- Answers {'news', '1' when the teller is to tell it, else '0'}

local lease = seen(TAG, ARGV[4], ARGV[5])
if not lease then return { 'news', '0' } end
local teller, what = ARGV[6], ARGV[7]
local fields = key('lease', TAG)
if what == 'take' then
  if not has_news(lease) then return { 'news', '0' } end
  if NOW < (lease.telling_ms or 0) and teller ~= lease.teller then return { 'news', '0' } end
  redis.call('HSET', fields, 'teller', teller, 'telling_ms', text(NOW + tonumber(ARGV[8])))
  return { 'news', '1' }
end
if teller == lease.teller then
  redis.call('HDEL', fields, 'teller', 'telling_ms')
  if what == 'heard' then redis.call('HSET', fields, 'fresh', '0', 'restarted', '0') end
  notify(TAG)
end
return { 'news', '0' }
