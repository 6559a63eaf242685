-- Holds a schedule still until its fence is written: 2 in place of 1 says that nothing commits, and that due times are
-- owed all the same. ARGV: schedule, the revision of the fence.
in_any_case()
local standing = call('HGET', P .. 'schedules', ARGV[1])
if standing then
  local known, rest = string.match(standing, '^(%d+) 1 (.*)$')
  if known and tonumber(known) < tonumber(ARGV[2]) then
    call('HSET', P .. 'schedules', ARGV[1], known .. ' 2 ' .. rest)
  end
end
return 1
