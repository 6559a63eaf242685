-- Makes a task ready again that ended badly. ARGV: its id. Answers its state afterwards, or nothing.
local id, key = ARGV[1], P .. 'task:' .. ARGV[1]
local task = call('HMGET', key, 'state', 'def', 'schedule')
if not task[1] or not task[2] or not parts(task[2]) then
  return false
end
local state = task[1]
if state == 'failed' or state == 'dead' or state == 'cancelled' or state == 'expired' then
  call('ZREM', P .. 'ended:' .. state, id)
  -- A fresh start for its counters, but not for its attempts: an old attempt stays stale.
  call('HDEL', key, 'failures', 'lost', 'expires', 'finished', 'error')
  call('HSET', key, 'state', 'ready', 'ready', now)
  moved(task[2], state, 'ready')
  enter(id, task[2], now, 0)
  if task[3] then
    call('SADD', P .. 'waits:' .. task[3], id)
  end
  write_counts()
  return 'ready'
end
return state
