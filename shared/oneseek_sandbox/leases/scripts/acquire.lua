-- Grants the thread's lease, or begins a creation; ends what is over or lost in the same step.
--
-- ARGV  4 attempt · 5 sandbox_id for a new lease · 6 idle_ms asked for, '' for none
--       7 sandbox_id that is lost, '' for none · 8 boot_id of its that was judged, '' for any
--       9 scope · 10 thread_id · 11 creation_ms · 12 default idle_ms
--       13 max_sandboxes, 0 for no limit · 14 labels, '' for none given · 15 env, likewise
-- Answers {'granted', lease} · {'suspected', lease} · {'creation', lease}
--       · {'busy', until_ms, wait_ms} · {'refused', 'capacity'}

local attempt, sandbox_id, idle_ms, lost = ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local limit = tonumber(ARGV[13])

local function begin()
  local ended = tonumber(redis.call('GET', key('last-end', TAG)) or '0') or 0
  local lease = {
    tag = TAG, scope = ARGV[9], thread_id = ARGV[10], sandbox_id = sandbox_id, attempt = attempt,
    generation = next_generation(ended), state = 'creating',
    deadline_ms = NOW + tonumber(ARGV[11]), idle_ms = idle_ms or tonumber(ARGV[12]),
    created_ms = NOW, used_ms = NOW, ends_ms = 0, suspect = '0', uid = '',
    ended_generation = ended,
  }
  give(lease, ARGV[14], ARGV[15])
  redis.call('HSET', key('sandbox', sandbox_id), 'tag', TAG, 'scope', ARGV[9],
    'thread_id', ARGV[10], 'reason', '')
  write(lease)
  return { 'creation', shown(lease) }
end

-- What is over takes no room, also when this very call ends it.
local over_ms = redis.call('ZSCORE', LIVE, TAG)
local replaces = over_ms and NOW < tonumber(over_ms)
local taken = redis.call('ZCOUNT', LIVE, '(' .. text(NOW), '+inf') + redis.call('ZCARD', DOOMED)
local lease = settled(TAG)
if lease and lease.state == 'restarting' and NOW >= lease.deadline_ms then
  lease.state, lease.suspect, lease.attempt = 'ready', '1', ''
  write(lease)
end
if lease and lease.state == 'ready' and is_seen_by(lease, lost, ARGV[8]) then
  finish(lease, 'lost')
  lease = nil
end
if not lease then
  if not replaces and limit > 0 and taken >= limit then return refused('capacity') end
  return begin()
end
if lease.state ~= 'ready' and lease.attempt == attempt then return { 'creation', shown(lease) } end
local wait_until = busy_until(lease)
if wait_until > 0 then return { 'busy', text(wait_until), text(wait_until - NOW) } end
give(lease, ARGV[14], ARGV[15])
if lease.suspect == '1' then
  write(lease)
  return { 'suspected', shown(lease) }
end
lease.idle_ms = idle_ms or lease.idle_ms
use(lease)
write(lease)
return { 'granted', shown(lease) }
