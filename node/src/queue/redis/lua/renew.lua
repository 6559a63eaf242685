-- Extends leases.
-- ARGV: lease in ms, then of each lease its task's id and attempt. Answers the ids of those that are lost.
in_any_case()
local till, lost = now + tonumber(ARGV[1]), {}
for at = 2, #ARGV, 2 do
  local task = redis.pcall('HMGET', P .. 'task:' .. ARGV[at], 'state', 'attempt')
  if not task.err and task[1] == 'leased' and task[2] == ARGV[at + 1] then
    call('ZADD', P .. 'leases', till, ARGV[at])
  else
    lost[#lost + 1] = ARGV[at]
  end
end
return lost
