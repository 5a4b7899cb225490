-- What the transitions share; the store puts this file in front of each of them.
--
-- KEYS  every key the caller can know, for a cluster's routing; all have one hash tag. Names are
--       built from the stem here, since a transition also learns of sandboxes and threads inside.
-- ARGV  1 stem of all keys · 2 tag of the thread, '' where there is not one
--       3 how long an end is remembered · 4... the transition's own
-- Milliseconds throughout, on this server's clock. state.py has the table of states.
-- A refusal is {'refused', code}; refusals.py has the words for it.

local STEM, TAG, ENDED_MS = ARGV[1], ARGV[2], tonumber(ARGV[3])
local LIVE, DOOMED, ENTRIES = STEM .. 'live', STEM .. 'doomed', STEM .. 'doomed-entries'
local TRIES = STEM .. 'doomed-tries'
local BACKGROUND = 'background'  -- the pin of processes in the background; no operation's
local NUMBERS = { 'generation', 'deadline_ms', 'idle_ms', 'created_ms', 'used_ms',
  'expires_ms', 'over_ms', 'ends_ms', 'telling_ms', 'env_version' }
local STATES = { creating = true, ready = true, restarting = true }

local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function key(kind, name) return STEM .. kind .. ':' .. name end

-- tostring() would turn large numbers into 1.7e+15.
local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  return value
end

local function refused(code) return { 'refused', code } end

local function read(tag)
  local flat = redis.call('HGETALL', key('lease', tag))
  if #flat == 0 then return nil end
  local lease = { tag = tag }
  for i = 1, #flat, 2 do lease[flat[i]] = flat[i + 1] end
  for _, name in ipairs(NUMBERS) do lease[name] = tonumber(lease[name]) end
  -- Of a later version: what is not understood is neither granted nor ended.
  if not STATES[lease.state] then error('unknown lease state ' .. tostring(lease.state)) end
  return lease
end

local function write(lease)
  lease.expires_ms = lease.deadline_ms
  lease.over_ms = lease.deadline_ms
  if lease.state ~= 'creating' then
    lease.expires_ms = lease.used_ms + lease.idle_ms
    if lease.ends_ms > 0 then lease.expires_ms = math.min(lease.expires_ms, lease.ends_ms) end
    lease.over_ms = lease.expires_ms
    local last = redis.call('ZREVRANGE', key('pins', lease.tag), 0, 0, 'WITHSCORES')
    if last[2] then lease.over_ms = math.max(lease.over_ms, tonumber(last[2])) end
    if lease.state == 'restarting' then
      lease.over_ms = math.max(lease.over_ms, lease.deadline_ms)
    end
  end
  local flat = {}
  for name, value in pairs(lease) do
    flat[#flat + 1] = name
    flat[#flat + 1] = text(value)
  end
  redis.call('HSET', key('lease', lease.tag), unpack(flat))
  redis.call('ZADD', LIVE, text(lease.over_ms), lease.tag)
  -- An earlier version that ends the lease would leave it behind for ever.
  if lease.env_version then
    redis.call('PEXPIRE', key('env', lease.sandbox_id), text(lease.over_ms - NOW + ENDED_MS))
  end
end

-- Until when processes in the background may hold it; 0 when none does.
local function background_until(lease)
  local until_ms = tonumber(redis.call('ZSCORE', key('pins', lease.tag), BACKGROUND) or '0')
  return until_ms > NOW and until_ms or 0
end

-- A lease on the wire: names and values in turn.
local function shown(lease)
  local pins = redis.call('ZCOUNT', key('pins', lease.tag), '(' .. text(NOW), '+inf')
  local busy_until = background_until(lease)
  if busy_until > 0 then pins = pins - 1 end
  local flat = { 'pins', text(pins), 'busy_until', text(busy_until) }
  for name, value in pairs(lease) do
    flat[#flat + 1] = name
    flat[#flat + 1] = text(value)
  end
  return flat
end

local function notify(tag) redis.call('PUBLISH', STEM .. 'notices', tag) end

local function doom(lease, uid, name, reason)
  local entry = cjson.encode({ uid, name, lease.scope, lease.thread_id, lease.sandbox_id,
    text(lease.generation), reason })
  redis.call('ZADD', DOOMED, 'NX', text(NOW), uid)
  redis.call('HSETNX', ENTRIES, uid, entry)
  return entry
end

-- Ends a lease; answers its doomed entry or ''. Without a reason the lease is forgotten, as nobody
-- was ever given its sandbox. What is labelled up to `over` (else its own generation) is over.
local function finish(lease, reason, over)
  redis.call('DEL', key('lease', lease.tag), key('pins', lease.tag), key('requests', lease.tag),
    key('env', lease.sandbox_id))
  redis.call('ZREM', LIVE, lease.tag)
  notify(lease.tag)
  if not reason then
    redis.call('DEL', key('sandbox', lease.sandbox_id))
    return ''
  end
  redis.call('HSET', key('sandbox', lease.sandbox_id), 'reason', reason)
  redis.call('PEXPIRE', key('sandbox', lease.sandbox_id), ENDED_MS)
  redis.call('SET', key('last-end', lease.tag), text(over or lease.generation), 'PX', ENDED_MS)
  if lease.uid == '' then return '' end
  return doom(lease, lease.uid, lease.name, reason)
end

local function finish_over(lease)
  if lease.state == 'creating' then return finish(lease, nil) end
  return finish(lease, 'expired')
end

-- The thread's lease, after ending it if it is over: as if cleanup had just run.
local function settled(tag)
  local lease = read(tag)
  if lease and NOW >= lease.over_ms then
    finish_over(lease)
    return nil
  end
  return lease
end

-- The lease that this creation may change: a lapsed one is held until somebody takes over.
local function held(tag, sandbox_id, attempt)
  local lease = read(tag)
  if lease and lease.state ~= 'creating' then lease = settled(tag) end
  if lease and lease.sandbox_id == sandbox_id and lease.attempt == attempt then return lease end
  return nil
end

-- Whether a lease still shows the sandbox process the caller saw; boot_id '' for any.
local function is_seen_by(lease, sandbox_id, boot_id)
  return lease.sandbox_id == sandbox_id and (boot_id == '' or boot_id == lease.boot_id)
end

-- The ready lease that the caller saw.
local function seen(tag, sandbox_id, boot_id)
  local lease = read(tag)
  if lease and lease.state == 'ready' and is_seen_by(lease, sandbox_id, boot_id) then return lease end
  return nil
end

-- Why a thread has no lease, or not this one.
local function absence(tag, sandbox_id)
  if sandbox_id == '' then return refused('no_lease') end
  local end_ = redis.call('HMGET', key('sandbox', sandbox_id), 'tag', 'reason')
  if end_[2] and end_[2] ~= '' and tag == end_[1] then return refused(end_[2]) end
  return refused('unknown')
end

local function next_generation(above)
  local last = tonumber(redis.call('GET', STEM .. 'generation') or '0')
  local generation = math.max(NOW, last + 1, above + 1)
  redis.call('SET', STEM .. 'generation', text(generation))
  return generation
end

-- What an acquire gives beside its time; '' leaves it as it is. The variables have a key of their
-- own, as nothing that reads a lease wants them.
local function give(lease, labels, env)
  if labels ~= '' then lease.labels = labels end
  if env == '' then return end
  local name = key('env', lease.sandbox_id)
  if redis.call('GET', name) ~= env then
    redis.call('SET', name, env)
    lease.env_version = (lease.env_version or 0) + 1
  end
  lease.env_lost = '0'
end

-- Activity, at either end of an operation; pins that ended by themselves go.
local function use(lease)
  lease.used_ms = NOW
  redis.call('ZREMRANGEBYSCORE', key('pins', lease.tag), '-inf', text(NOW))
end

-- What is noted of a request: the boot it was sent to, and its pin while it has one only.
local function noted(boot_id, pin_id) return boot_id .. ' ' .. pin_id end

local function is_retired(lease) return lease.ends_ms > 0 and NOW >= lease.ends_ms end

local function has_news(lease) return lease.fresh == '1' or lease.restarted == '1' end

-- Until when an acquire has to wait; 0 when it need not. Nobody is given a sandbox before the news
-- of it were told, or their teller is given up.
local function busy_until(lease)
  local until_ms = lease.deadline_ms
  if lease.state == 'ready' then
    until_ms = has_news(lease) and lease.telling_ms or 0
    if is_retired(lease) then until_ms = lease.over_ms end
  end
  return NOW < until_ms and until_ms or 0
end
