-- Takes a task back that nobody has begun. ARGV: its id. Answers its state afterwards, or nothing.
in_any_case()
local task = call('HMGET', P .. 'task:' .. ARGV[1], 'state', 'def', 'ready', 'lost', 'schedule')
if not task[1] or not task[2] or not parts(task[2]) then
  return false
end
if task[1] == 'ready' or task[1] == 'scheduled' or task[1] == 'retry' then
  pull(ARGV[1], task[1], task[2], tonumber(task[3]), tonumber(task[4]) or 0)
  finish(ARGV[1], task[2], task[1], 'cancelled', task[5])
  write()
  return 'cancelled'
end
return task[1]
