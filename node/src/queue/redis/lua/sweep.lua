-- Returns tasks whose leases have run out, buries those that lost too many, ends what was not begun in time.
-- ARGV: how many leases a task may lose, how many tasks of a kind to change at most.
-- Answers the ids returned, the ids buried, how many have expired.
in_any_case()
local most_lost, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local returned, dead, expired = {}, {}, 0
lose(call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. now_text, 'LIMIT', 0, most), most_lost, returned, dead)
local late = call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now_text, 'LIMIT', 0, most)
load(late)
for _, id in ipairs(late) do
  local task = task_of(id)
  if not task then
    take(P .. 'expiry', id)
    set_aside(id)
  elseif WAITS[task[STATE]] then
    pull(task)
    finish(task, 'expired')
    expired = expired + 1
  else
    take(P .. 'expiry', id)
  end
end
write()
return { returned, dead, expired }
