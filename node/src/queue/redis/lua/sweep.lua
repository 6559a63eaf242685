-- Returns tasks whose leases have run out, buries those that lost too many, ends what was not begun in time.
-- ARGV: how many leases a task may lose, how many tasks of a kind to change at most.
-- Answers the ids returned, the ids buried, how many have expired.
in_any_case()
local most_lost, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local returned, dead, expired = {}, {}, 0
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. now_text, 'LIMIT', 0, most)) do
  lose(id, most_lost, returned, dead)
end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now_text, 'LIMIT', 0, most)) do
  local task = redis.pcall('HMGET', P .. 'task:' .. id, 'state', 'def', 'ready', 'lost', 'schedule')
  if task.err or not task[2] or not parts(task[2]) then
    take(P .. 'expiry', id)
    set_aside(id)
  elseif task[1] == 'ready' or task[1] == 'scheduled' or task[1] == 'retry' then
    pull(id, task[1], task[2], tonumber(task[3]), tonumber(task[4]) or 0)
    finish(id, task[2], task[1], 'expired', task[5])
    expired = expired + 1
  else
    take(P .. 'expiry', id)
  end
end
write()
return { returned, dead, expired }
