-- Makes a task ready again that ended badly. ARGV: its id. Answers its state afterwards, or nothing.
local task = task_of(ARGV[1])
if not task then
  return false
end
local state = task[STATE]
if ENDED[state] and state ~= 'done' then
  take(P .. 'ended:' .. state, task[ID])
  -- A fresh start for its counters, but not for its attempts: an old attempt stays stale.
  moved(task, state, 'ready')
  task[STATE], task[READY], task[FAILURES], task[LOST], task[EXPIRES], task[FINISHED] = 'ready', now_text, '0', '0', '-', '-'
  keep(task)
  drop(P .. 'error:' .. task[ID])
  enter(task)
  if task[SCHEDULE] ~= '-' then
    call('SADD', P .. 'waits:' .. task[SCHEDULE], task[ID])
  end
  write()
end
return task[STATE]
