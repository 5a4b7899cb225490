-- Gives up a creation, gives notice, and dooms what it made unless a successor may have taken it.
--
-- ARGV  4 sandbox_id · 5 attempt · 6 uid of what was made, '' for nothing · 7 its name
--       8 scope · 9 thread_id · 10 generation
-- Answers {'abandoned', doomed entry or ''}

local uid = ARGV[6]
local lease = held(TAG, ARGV[4], ARGV[5])
local entry = ''
if lease and lease.state ~= 'ready' then entry = finish(lease, lease.uid ~= '' and 'lost' or nil) end
if uid ~= '' then
  local current = read(TAG)
  if not current or (current.state == 'ready' and current.uid ~= uid) then
    local made = { scope = ARGV[8], thread_id = ARGV[9], sandbox_id = ARGV[4],
      generation = ARGV[10] }
    entry = doom(made, uid, ARGV[7], 'lost')
  end
end
return { 'abandoned', entry }
