-- Forgets what ended long ago, a bounded number at a time.
-- ARGV: how long ended tasks are kept in ms, how long lines of the ledger are, how many to forget at most.
-- Answers 1 when there may be more.
in_any_case()
local keep_tasks, keep_ticks, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local more = 0
for _, state in ipairs({ 'done', 'failed', 'dead', 'cancelled', 'expired' }) do
  local key = P .. 'ended:' .. state
  local old = call('ZRANGEBYSCORE', key, '-inf', '(' .. string.format('%.0f', now - keep_tasks), 'LIMIT', 0, most)
  if #old > 0 then
    local tasks = {}
    for at, id in ipairs(old) do
      tasks[at] = P .. 'task:' .. id
      local def = redis.pcall('HGET', tasks[at], 'def')
      if type(def) == 'string' and parts(def) then
        moved(def, state, nil)
      end
    end
    call('UNLINK', unpack(tasks))
    call('ZREM', P .. 'all', unpack(old))
    call('ZREM', key, unpack(old))
    if #old == most then
      more = 1
    end
  end
end
local old = call('ZRANGEBYSCORE', P .. 'lines', '-inf', '(' .. string.format('%.0f', now - keep_ticks), 'LIMIT', 0, most)
for _, line in ipairs(old) do
  local schedule, due = string.match(line, '^(%S+) (%S+)$')
  call('ZREMRANGEBYSCORE', P .. 'ticks:' .. schedule, due, due)
end
if #old > 0 then
  call('ZREM', P .. 'lines', unpack(old))
  if #old == most then
    more = 1
  end
end
write()
return more
