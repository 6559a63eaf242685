-- Takes leases of dead workers away that nobody has renewed for a while.
-- ARGV: how many leases a task may lose, how many tasks to change at most, how much longer than this a lease that was
-- renewed lately still runs in ms, then the workers.
-- Answers the ids returned, the ids buried, and 0.
in_any_case()
local most_lost, most, till = tonumber(ARGV[1]), tonumber(ARGV[2]), math.huge
till = now + tonumber(ARGV[3]) --guard renewal_witness
local workers = {}
for at = 4, #ARGV do
  workers[ARGV[at]] = true
end
local leases = call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. string.format('%.0f', till))
load(leases)
local theirs, returned, dead = {}, {}, {}
for _, id in ipairs(leases) do
  local task = task_of(id)
  if #theirs < most and task and workers[task[NODE]] then
    theirs[#theirs + 1] = id
  end
end
lose(theirs, most_lost, returned, dead)
write()
return { returned, dead, 0 }
