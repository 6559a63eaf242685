-- Forgets what ended long ago, and the oldest of what ended when there is too much of it, a bounded number at a time.
-- ARGV: how long ended tasks are kept in ms, how long lines of the ledger are, how many to forget at most, how many ended
-- tasks are kept. Answers 1 when there may be more.
in_any_case()
local keep_tasks, keep_ticks, most, most_kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local ENDS = { 'done', 'failed', 'dead', 'cancelled', 'expired' }
local more = 0

-- What there may be under a task's id.
local KINDS = { 'task:', 'input:', 'output:', 'error:', 'log:' }

local function forget(state, old)
  load(old)
  for _, id in ipairs(old) do
    local task = task_of(id)
    take(P .. 'ended:' .. state, id)
    if not task or task[STATE] == state then
      if task then
        moved(task, state, nil)
      end
      take(P .. 'all', id)
      for _, kind in ipairs(KINDS) do
        drop(P .. kind .. id)
      end
    end
  end
end

local kept = 0
for _, state in ipairs(ENDS) do
  local key = P .. 'ended:' .. state
  local old = call('ZRANGEBYSCORE', key, '-inf', '(' .. string.format('%.0f', now - keep_tasks), 'LIMIT', 0, most)
  forget(state, old)
  if #old == most then
    more = 1
  end
  write()
  kept = kept + call('ZCARD', key)
end

-- The oldest of all states: each state's oldest, in the order of their ends.
local excess = math.min(kept - most_kept, most)
if excess > 0 then
  local oldest = {}
  for _, state in ipairs(ENDS) do
    local page = call('ZRANGE', P .. 'ended:' .. state, 0, excess - 1, 'WITHSCORES')
    for at = 1, #page, 2 do
      oldest[#oldest + 1] = { id = page[at], ended = tonumber(page[at + 1]), state = state }
    end
  end
  table.sort(oldest, function(one, other)
    return one.ended < other.ended or (one.ended == other.ended and one.id < other.id)
  end)
  local of = {}
  for at = 1, excess do
    local task = oldest[at]
    of[task.state] = of[task.state] or {}
    of[task.state][#of[task.state] + 1] = task.id
  end
  for _, state in ipairs(ENDS) do
    if of[state] then
      forget(state, of[state])
    end
  end
  if kept - excess > most_kept then
    more = 1
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
