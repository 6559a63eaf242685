-- Takes a task back that nobody has begun. ARGV: its id. Answers its state afterwards, or nothing.
in_any_case()
local task = task_of(ARGV[1])
if not task then
  return false
end
if WAITS[task[STATE]] then
  pull(task)
  finish(task, 'cancelled')
  write()
end
return task[STATE]
