-- Returns tasks whose leases have run out, buries those that lost too many, ends what was not begun in time.
-- ARGV: how many leases a task may lose, how many tasks of a kind to change at most.
-- Answers the ids returned, the ids buried, how many have expired.
local most_lost, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local returned, dead, expired = {}, {}, 0
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, most)) do
  local key = P .. 'task:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'def', 'ready', 'lost', 'schedule', 'expires')
  call('ZREM', P .. 'leases', id)
  if task.err or not task[2] or not parts(task[2]) then
    set_aside(id)
  elseif task[1] == 'leased' then
    local lost = (tonumber(task[4]) or 0) + 1
    if lost > most_lost then
      call('HSET', key, 'lost', lost)
      finish(id, task[2], 'leased', 'dead', task[5])
      dead[#dead + 1] = id
    else
      -- Back to its place in the queue, not to its end: it has waited since then.
      call('HSET', key, 'lost', lost, 'state', 'ready')
      moved(task[2], 'leased', 'ready')
      push(id, task[2], tonumber(task[3]), lost)
      if task[5] then
        call('SMOVE', P .. 'runs:' .. task[5], P .. 'waits:' .. task[5], id)
      end
      if task[6] then
        call('ZADD', P .. 'expiry', task[6], id)
      end
      returned[#returned + 1] = id
    end
  end
end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now, 'LIMIT', 0, most)) do
  local task = redis.pcall('HMGET', P .. 'task:' .. id, 'state', 'def', 'ready', 'lost', 'schedule')
  if task.err or not task[2] or not parts(task[2]) then
    call('ZREM', P .. 'expiry', id)
    set_aside(id)
  elseif task[1] == 'ready' or task[1] == 'scheduled' or task[1] == 'retry' then
    pull(id, task[1], task[2], tonumber(task[3]), tonumber(task[4]) or 0)
    finish(id, task[2], task[1], 'expired', task[5])
    expired = expired + 1
  else
    call('ZREM', P .. 'expiry', id)
  end
end
write_counts()
return { returned, dead, expired }
