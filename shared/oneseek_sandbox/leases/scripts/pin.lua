-- Counts activity and holds the lease for an operation.
--
-- ARGV  4 sandbox_id, '' for the current one · 5 pin id · 6 longest hold, in milliseconds
--       7 digest of a request_id, '' for none · 8 how many different ones a lease may have
--       9 digest of a request_id that is asked about, '' for none
--       10 how long a process of it may run in the background, 0 for none
-- Answers {'lease', lease} · {'refused', code}

local sandbox_id, request = ARGV[4], ARGV[7]

-- Notes where a request is sent, or answers why it must not be; state.py has the reasons.
local function note(lease)
  local notes = key('requests', TAG)
  local seen = redis.call('HGET', notes, request)
  local boot = noted(lease.boot_id, '')
  if not seen then
    if redis.call('HLEN', notes) >= tonumber(ARGV[8]) then return refused('request_ids_exhausted') end
    redis.call('HSET', notes, request, noted(lease.boot_id, ARGV[5]))
  elseif seen:sub(1, #boot) ~= boot then
    return refused('answer_lost')
  elseif seen ~= noted(lease.boot_id, ARGV[5]) then
    redis.call('HSET', notes, request, boot)
  end
  return nil
end

-- Whether a request was sent to another process than the lease's.
local function was_lost(lease)
  local seen = ARGV[9] ~= '' and redis.call('HGET', key('requests', TAG), ARGV[9])
  local boot = noted(lease.boot_id, '')
  return seen and seen:sub(1, #boot) ~= boot
end

local function work(lease)
  local until_ms = math.max(NOW + tonumber(ARGV[10]), background_until(lease))
  if lease.ends_ms > 0 then until_ms = math.min(until_ms, lease.ends_ms) end
  redis.call('ZADD', key('pins', TAG), text(until_ms), BACKGROUND)
end

local lease = settled(TAG)
if not lease or (sandbox_id ~= '' and sandbox_id ~= lease.sandbox_id) then
  return absence(TAG, sandbox_id)
end
if lease.state == 'creating' then return refused('being_created') end
if lease.state == 'restarting' then return refused('restarting') end
if is_retired(lease) then return refused(sandbox_id ~= '' and 'expired' or 'no_lease') end
if was_lost(lease) then return refused('answer_lost') end
local refusal = request ~= '' and note(lease)
if refusal then return refusal end
use(lease)
redis.call('ZADD', key('pins', TAG), text(NOW + tonumber(ARGV[6])), ARGV[5])
if tonumber(ARGV[10]) > 0 then work(lease) end
write(lease)
return { 'lease', shown(lease) }
