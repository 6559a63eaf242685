-- Takes leases of dead workers away that nobody has renewed for a while.
-- ARGV: how many leases a task may lose, how many tasks to change at most, how much longer than this a lease that was
-- renewed lately still runs in ms, then the workers.
-- Answers the ids returned, the ids buried, and 0.
in_any_case()
local most_lost, most, till = tonumber(ARGV[1]), tonumber(ARGV[2]), math.huge
till = now + tonumber(ARGV[3]) --guard renewal_witness
local returned, dead, workers = {}, {}, {}
for at = 4, #ARGV do
  workers[ARGV[at]] = true
end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. string.format('%.0f', till))) do
  if #returned + #dead >= most then
    break
  end
  local worker = redis.pcall('HGET', P .. 'task:' .. id, 'node')
  if type(worker) == 'string' and workers[worker] then
    lose(id, most_lost, returned, dead)
  end
end
write()
return { returned, dead, 0 }
