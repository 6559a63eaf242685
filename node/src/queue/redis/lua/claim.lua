-- Leases the best ready tasks to a worker.
-- ARGV: node, how many at most, lease in ms, bytes of inputs at most, turn, then the claimant.
-- Answers: the next turn, then of each task id, attempt, failures, lost leases, def, input.
local node, left, lease, budget, turn = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local who = claimant(6)

-- Pairs of queue and function looked at in one claim.
local MOST_PAIRS = 256
-- Tasks looked at in one claim besides those that are taken: what has expired waits for the sweeper.
local MOST_PASSED_OVER = 1000

in_any_case()
promote()

local found, next_turn = pairs_of(who.queues, turn, MOST_PAIRS)
local rows, sources = {}, {}
for _, pair in ipairs(found) do
  local queue, fn = string.match(pair, '^(%S+) (%S+)$')
  if who.room[fn] ~= 0 and who.left[queue] ~= 0 then
    local fresh = source(P .. 'ready:' .. queue .. ':' .. fn, queue, fn)
    local again = source(P .. 'again:' .. queue .. ':' .. fn, queue, fn)
    again.is_again = true
    local holds = false
    for _, from in ipairs({ fresh, again }) do
      if head(from) then
        sources[#sources + 1] = from
        local row = rows[#rows]
        if not row or row.queue ~= queue then
          row = { queue = queue }
          rows[#rows + 1] = row
        end
        row[#row + 1] = from
        holds = true
      end
    end
    if not holds then
      call('ZREM', P .. 'ready', pair)
    end
  end
end

-- What the first task of a queue is.
local function first_of(row)
  local first, from
  for _, candidate in ipairs(row) do
    local member = head(candidate)
    if member and (not first or member < first) then
      first, from = member, candidate
    end
  end
  return first, from
end

-- The first task of the queue whose turn it is: weighted fair, as in `fair.rs`.
local function best()
  while #rows > 0 do
    local turn = 1
    for at = 2, #rows do
      if (who.pass[rows[at].queue] or 0) < (who.pass[rows[turn].queue] or 0) then
        turn = at
      end
    end
    local queue = rows[turn].queue
    local member, from = first_of(rows[turn])
    if member and who.left[queue] ~= 0 then
      return member, from
    end
    table.remove(rows, turn)
  end
end

local answer, leases, bytes, passed_over = { next_turn }, {}, 0, 0
-- Lines of which more than one task may run: the next one starts when the one before it has.
local begun = {}
while left > 0 and passed_over < MOST_PASSED_OVER do
  local member, from = best()
  if not member then
    break
  end
  from.pos = from.pos + 1
  local id, fn = string.sub(member, 16, 51), from.fn
  local lost = from.is_again and tonumber(string.sub(member, 52), 16) or 0
  local suspect = lost >= who.suspect_from
  local left_out = false
  passed_over = passed_over + 1
  if suspect and not who.takes_suspect then left_out = true end --guard suspects_apart
  if left_out then
    -- What is left out uses up nothing of its function's room.
  elseif who.room[fn] == 0 then
    -- There is no room for more of this function.
    from.items, from.pos, from.done = {}, 1, true
  else
    local key = P .. 'task:' .. id
    local task = redis.pcall('HMGET', key, 'state', 'def', 'expires', 'attempt', 'failures', 'lost', 'schedule', 'input')
    if task.err or not task[2] or not parts(task[2]) then
      from.gone[#from.gone + 1] = member
      set_aside(id)
    elseif task[1] ~= 'ready' then
      from.gone[#from.gone + 1] = member
    elseif not (task[3] and tonumber(task[3]) <= now) then
      local _, _, _, length = parts(task[2])
      length = tonumber(length)
      if bytes > 0 and bytes + length > budget then
        -- Those behind it do not overtake it: it would wait for ever.
        break
      end
      local attempt = (tonumber(task[4]) or 0) + 1
      from.gone[#from.gone + 1] = member
      moved(task[2], 'ready', 'leased')
      call('HSET', key, 'state', 'leased', 'attempt', attempt, 'node', node, 'started', now)
      leases[#leases + 1] = now + lease
      leases[#leases + 1] = id
      local at_once, line = line_of(task[2])
      if at_once then
        call('ZADD', P .. 'line:' .. line, -1, id)
        if at_once ~= '1' then
          begun[#begun + 1] = line
        end
      end
      if task[3] then
        call('ZREM', P .. 'expiry', id)
      end
      if task[7] then
        call('SMOVE', P .. 'waits:' .. task[7], P .. 'runs:' .. task[7], id)
      end
      answer[#answer + 1] = { id, attempt, tonumber(task[5]) or 0, tonumber(task[6]) or 0, task[2], task[8] or '' }
      local queue = from.queue
      if who.room[fn] then
        who.room[fn] = who.room[fn] - 1
      end
      if who.left[queue] then
        who.left[queue] = who.left[queue] - 1
      end
      who.pass[queue] = (who.pass[queue] or 0) + (who.cost[queue] or 1000000)
      if suspect then
        who.takes_suspect = false
      end
      bytes, left, passed_over = bytes + length, left - 1, passed_over - 1
    end
  end
end
for _, from in ipairs(sources) do
  for at = 1, #from.gone, 1000 do
    call('ZREM', from.key, unpack(from.gone, at, math.min(at + 999, #from.gone)))
  end
end
for at = 1, #leases, 1000 do
  call('ZADD', P .. 'leases', unpack(leases, at, math.min(at + 999, #leases)))
end
for _, line in ipairs(begun) do
  let_in(line)
end
write_counts()
return answer
