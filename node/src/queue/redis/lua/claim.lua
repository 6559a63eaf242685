-- Leases the best ready tasks to a worker.
-- ARGV: node, how many at most, lease in ms, bytes of inputs at most, turn, then the claimant.
-- Answers: the next turn, then of each task its id, its value, its input; when there is none, in how many ms the first one
-- comes, -1 when nothing waits for the claimant.
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
for _, name in ipairs(found) do
  local queue, fn = string.match(name, '^(%S+) (%S+)$')
  local pair = pair_of(queue, fn)
  -- Once, also if a queue is named twice: what leaves a set by its rank must not leave it again.
  local is_new = not pair.is_looked_at
  pair.is_looked_at = true
  if is_new and who.room[fn] ~= 0 and who.left[queue] ~= 0 then
    local fresh, again = source(pair.ready, pair), source(pair.again, pair)
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
      call('ZREM', P .. 'ready', name)
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
  if #rows == 1 and #rows[1] == 1 and who.left[rows[1].queue] == nil then
    local from = rows[1][1]
    return head(from), from
  end
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

-- A member goes. As long as none before it stays they go by their ranks, which costs far less.
local function leaves(from, member)
  local rank = from.offset - #from.items + from.pos - 1
  if rank == from.first_gone then
    from.first_gone = rank + 1
  else
    take(from.key, member)
  end
end

-- The ids and values of tasks that are leased now, and the lengths of their inputs.
local ids, leased, lengths = {}, {}, {}
local bytes, passed_over = 0, 0
local till, began = string.format('%.0f', now + lease), node .. ' ' .. now_text
local leases = collected(added, P .. 'leases')
-- Lines of which more than one task may run: the next one starts when the one before it has.
local begun = {}

-- Leases one task, as its list; answers its value.
local function begin(task)
  moved(task, 'ready', 'leased')
  task[STATE], task[NODE], task[STARTED] = 'leased', node, now_text
  task[ATTEMPT] = string.format('%d', task[ATTEMPT] + 1)
  local id = task[ID]
  local at_once, line = line_of(task)
  if at_once then
    call('ZADD', P .. 'line:' .. line, -1, id)
    if at_once ~= '1' then
      begun[#begun + 1] = line
    end
  end
  if task[EXPIRES] ~= '-' then
    take(P .. 'expiry', id)
  end
  if task[SCHEDULE] ~= '-' then
    call('SMOVE', P .. 'waits:' .. task[SCHEDULE], P .. 'runs:' .. task[SCHEDULE], id)
  end
  return table.concat(task, ' ', PLAIN, TAIL)
end

-- How it is with the first attempt of a plain task: as `begin`, but from text to text. Lists and texts that Lua makes are
-- most of what a script costs, and most tasks are like that.
local FIRST, BEGUN = '^1 (%d+) ready 0 %- %- ', '1 %1 leased 1 ' .. began .. ' '
local by_text = not is_recounting()

while left > 0 and passed_over < MOST_PASSED_OVER do
  local member, from = best()
  if not member then
    break
  end
  local suspect = from.is_again and tonumber(string.sub(member, 52), 16) >= who.suspect_from
  local left_out = false
  passed_over = passed_over + 1
  if suspect and not who.takes_suspect then left_out = true end --guard suspects_apart
  if left_out then
    -- What is left out uses up nothing of its function's room.
  elseif who.room[from.pair.fn] == 0 then
    -- There is no room for more of this function.
    from.items, from.done = {}, true
  else
    local id, key = read_head(from)
    local value = known[id]
    local length, task
    if by_text and type(value) == 'string' then
      length = string.match(value, FIRST)
    end
    if not length then
      task = task_of(id)
      length = task and task[LENGTH]
    end
    if not length then
      leaves(from, member)
      set_aside(id)
    elseif task and task[STATE] ~= 'ready' then
      leaves(from, member)
    elseif not task or task[EXPIRES] == '-' or tonumber(task[EXPIRES]) > now then
      if bytes > 0 and bytes + tonumber(length) > budget then
        -- Those behind it do not overtake it: it would wait for ever.
        break
      end
      local queue, fn = from.pair.queue, from.pair.fn
      if task then
        value = begin(task)
      else
        value = string.gsub(value, FIRST, BEGUN, 1)
        add_up(from.pair.moved, 'ready', 'leased')
      end
      leaves(from, member)
      replace(id, key, value)
      local n = #ids + 1
      leases[2 * n - 1], leases[2 * n] = till, id
      ids[n], leased[n], lengths[n] = id, value, length
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
      bytes, left, passed_over = bytes + tonumber(length), left - 1, passed_over - 1
    end
  end
  from.pos = from.pos + 1
end
for _, line in ipairs(begun) do
  let_in(line)
end

local keys, of = {}, {}
for n, length in ipairs(lengths) do
  if length ~= '0' then
    keys[#keys + 1] = P .. 'input:' .. ids[n]
    of[#of + 1] = n
  end
end
local inputs = {}
for first = 1, #keys, AT_ONCE do
  for n, input in ipairs(call('MGET', unpack(keys, first, math.min(first + AT_ONCE - 1, #keys)))) do
    inputs[of[first + n - 1]] = input
  end
end
local answer = { next_turn }
for n, id in ipairs(ids) do
  local at, input = 3 * n - 1, inputs[n]
  if lengths[n] == '0' then
    input = ''
  end
  -- Without its input nobody can run it.
  answer[at], answer[at + 1], answer[at + 2] = id, leased[n], input or false
end
for _, from in ipairs(sources) do
  if from.first_gone > 0 then
    call('ZREMRANGEBYRANK', from.key, 0, from.first_gone - 1)
  end
end
write()
if #ids == 0 then
  answer[2] = next_waiting(who)
end
return answer
