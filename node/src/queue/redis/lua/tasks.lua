-- Stands before every script that reads or changes tasks.
--
-- What a script changes is collected while it runs and written by `write`: one command for many keys costs far less than
-- one for each. Tasks are seen as the script has changed them; sets are read as they were before.

-- A task's value, with `-` for what there is not; `codec.rs` says what the words mean:
--   PLAIN LENGTH STATE ATTEMPT NODE STARTED FINISHED QUEUE FUNCTION FAILURES LOST CREATED READY EXPIRES BEHIND SCHEDULE
--   URGENCY PRINT[/AT_ONCE/LINE] JSON
-- A plain one (1, others 0) has no expiry, schedule or order key: then its first words tell all that claims and ends ask.
local VALUE = '^([01]) (%d+) (%l+) (%d+) (%S+) (%S+) (%S+) (%S+) (%S+) (%d+) (%d+) (%d+) (%d+) (%S+) ([01]) (%S+) ((%x%x%x%x) %x+(%S*) .*)$'
-- Read, it is a list of its words as texts, the last three also as one.
local PLAIN, LENGTH, STATE, ATTEMPT, NODE, STARTED, FINISHED, QUEUE, FN = 1, 2, 3, 4, 5, 6, 7, 8, 9
local FAILURES, LOST, CREATED, READY, EXPIRES, BEHIND, SCHEDULE, TAIL, URGENCY, ORDER = 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
local ID, PAIR, CHANGED = 20, 21, 22

local STATES = { 'ready', 'scheduled', 'retry', 'leased', 'done', 'failed', 'dead', 'cancelled', 'expired' }
local WAITS = { ready = true, scheduled = true, retry = true }
local ENDED = { done = true, failed = true, dead = true, cancelled = true, expired = true }

-- Keys, or members, in one command: as many as Lua's stack bears.
local AT_ONCE = 1000

local function in_pieces(command, key, items)
  for at = 1, #items, AT_ONCE do
    call(command, key, unpack(items, at, math.min(at + AT_ONCE - 1, #items)))
  end
end

-- A queue and a function of it: where its ready tasks stand, and how many of its tasks come into a state, or leave it.
local pairs_by_name, all_pairs = {}, {}
local function pair_of(queue, fn)
  local of_queue = pairs_by_name[queue]
  if not of_queue then
    of_queue = {}
    pairs_by_name[queue] = of_queue
  end
  local pair = of_queue[fn]
  if not pair then
    pair = {
      queue = queue, fn = fn, ready = P .. 'ready:' .. queue .. ':' .. fn, again = P .. 'again:' .. queue .. ':' .. fn,
      moved = {}, followed = {},
    }
    of_queue[fn] = pair
    all_pairs[#all_pairs + 1] = pair
  end
  return pair
end

-- Of each id that was read its value, or its task once somebody has looked at it; false when there is none.
local known = {}
-- What stands in place of a task and is none.
local STRANGE = {}

local TASK = P .. 'task:'

-- Reads values by ids, all at once: much cheaper than one by one; answers their keys. What is of another kind is nothing
-- to `MGET`, and is found by the scan.
local function load(ids)
  local keys = {}
  for n = 1, #ids do
    keys[n] = TASK .. ids[n]
  end
  for first = 1, #keys, AT_ONCE do
    local values = call('MGET', unpack(keys, first, math.min(first + AT_ONCE - 1, #keys)))
    for n = 1, #values do
      local id = ids[first + n - 1]
      -- What the script has changed already is not what stands there.
      if known[id] == nil then
        known[id] = values[n]
      end
    end
  end
  return keys
end

-- A task; nothing when there is none, false when what is there is none.
local function task_of(id)
  if known[id] == nil then
    load({ id })
  end
  local task = known[id]
  if type(task) == 'string' then
    task = { string.match(task, VALUE) }
    local state = task[STATE]
    if WAITS[state] or ENDED[state] or state == 'leased' then
      task[ID], task[PAIR], task[CHANGED] = id, pair_of(task[QUEUE], task[FN]), false
    else
      task = STRANGE
    end
    known[id] = task
  end
  if task == STRANGE then
    return false
  end
  return task or nil
end

local function collection()
  return { order = {}, of = {} }
end

local function collected(collection, key)
  local items = collection.of[key]
  if not items then
    items = {}
    collection.of[key] = items
    collection.order[#collection.order + 1] = key
  end
  return items
end

local added, removed = collection(), collection()
-- Tasks that have changed, other values, keys that go.
local changed, values, gone = {}, {}, {}

-- Adds to a sorted set.
local function put(key, score, member)
  local items = collected(added, key)
  local n = #items
  items[n + 1], items[n + 2] = score, member
end

-- Takes out of a sorted set.
local function take(key, member)
  local items = collected(removed, key)
  items[#items + 1] = member
end

-- A task has changed.
local function keep(task)
  if not task[CHANGED] then
    task[CHANGED] = true
    changed[#changed + 1] = task
  end
end

-- A value beside a task.
local function store(key, value)
  local n = #values
  values[n + 1], values[n + 2] = key, value
end

-- A task's value that was made without looking at the task.
local function replace(id, key, value)
  known[id] = value
  store(key, value)
end

local function drop(key)
  gone[#gone + 1] = key
end

-- While `scan` counts anew, piece by piece in the order of `all`: how far it has come, and up to where it goes. What it
-- has counted, and what is younger than its beginning, goes along with every move, so that its sums are right when it
-- comes to the end, however much happens meanwhile.
local recount
local function is_recounting()
  if recount == nil then
    local at = call('HMGET', P .. 'recount', 'at', 'id', 'upto')
    recount = at[1] and { at = tonumber(at[1]), id = at[2], upto = tonumber(at[3]) }
  end
  return recount
end

local function is_recounted(id, created)
  if not is_recounting() then
    return false
  end
  local made = tonumber(created)
  return made > recount.upto or made < recount.at or (made == recount.at and id <= recount.id)
end

local function add_up(sums, from, to)
  if from then
    sums[from] = (sums[from] or 0) - 1
  end
  if to then
    sums[to] = (sums[to] or 0) + 1
  end
end

-- A task goes from one state to another for the counts; it comes from none, or goes to none.
local function moved(task, from, to)
  local pair = task[PAIR]
  add_up(pair.moved, from, to)
  if is_recounted(task[ID], task[CREATED]) then
    add_up(pair.followed, from, to)
  end
end

-- Of the hash of counts, or of that of a recount with `n:` before its sums.
local function write_counts(key, prefix, pair, sums)
  for _, state in ipairs(STATES) do
    local by = sums[state]
    if by and by ~= 0 then
      call('HINCRBY', key, prefix .. pair.queue .. ' ' .. state, by)
      if state == 'leased' then
        call('HINCRBY', key, prefix .. 'leased:' .. pair.fn, by)
      end
    end
  end
end

local function write()
  for at = 1, #gone, AT_ONCE do
    call('UNLINK', unpack(gone, at, math.min(at + AT_ONCE - 1, #gone)))
  end
  for _, key in ipairs(removed.order) do
    in_pieces('ZREM', key, removed.of[key])
  end
  for _, task in ipairs(changed) do
    task[CHANGED] = false
    store(TASK .. task[ID], table.concat(task, ' ', PLAIN, TAIL))
  end
  for at = 1, #values, AT_ONCE do
    call('MSET', unpack(values, at, math.min(at + AT_ONCE - 1, #values)))
  end
  for _, key in ipairs(added.order) do
    in_pieces('ZADD', key, added.of[key])
  end
  for _, pair in ipairs(all_pairs) do
    write_counts(P .. 'counts', '', pair, pair.moved)
    write_counts(P .. 'recount', 'n:', pair, pair.followed)
    pair.moved, pair.followed = {}, {}
  end
  added, removed, changed, values, gone = collection(), collection(), {}, {}, {}
end

-- A time as it stands in a member; tasks that come together have the same one.
local seen, in_hex
local function hex(since)
  if since ~= seen then
    seen, in_hex = since, string.format('%011x', math.min(tonumber(since), 0xfffffffffff))
  end
  return in_hex
end

-- Where a ready task stands: the key of its queue and function, and a member whose order is the order of claims:
-- urgency, waiting since, id. Tasks that have lost leases stand apart and say at the end how many.
local function place(task)
  local member = task[URGENCY] .. hex(task[READY]) .. task[ID]
  if task[LOST] ~= '0' then
    return task[PAIR].again, member .. string.format('%04x', math.min(tonumber(task[LOST]), 0xffff))
  end
  return task[PAIR].ready, member
end

-- Makes a task claimable.
local function push_to(key, pair, member)
  if not added.of[key] then
    put(P .. 'ready', '0', pair.queue .. ' ' .. pair.fn)
  end
  put(key, '0', member)
end

local function push(task)
  local key, member = place(task)
  push_to(key, task[PAIR], member)
end

local function push_new(pair, urgency, ready, id)
  push_to(pair.ready, pair, urgency .. hex(ready) .. id)
end

-- Takes a task that nobody has begun out of where it waits.
local function pull(task)
  if task[STATE] == 'ready' then
    take(place(task))
  else
    take(P .. 'wait', task[ID])
  end
  take(P .. 'expiry', task[ID])
end

-- What is no task of ours, or has lost what makes it one: out of everybody's way, and counted.
local function set_aside(id)
  put(P .. 'aside', now_text, id)
end

-- Of a task with an order key: how many of its line run at once, and the line.
local function line_of(task)
  if task[PLAIN] == '0' and task[ORDER] ~= '' then
    return string.match(task[ORDER], '^/(%d+)/(%x+)$')
  end
end

-- Lets in who is next in a line, when it may; answers whom. Places are those of `order.rs`: greater than 0 waits, 0 is let
-- in, -1 has begun.
local function let_in(line)
  local key, was_let_in = P .. 'line:' .. line, nil
  while true do
    local id = call('ZRANGEBYSCORE', key, 1, '+inf', 'LIMIT', 0, 1)[1]
    if not id then
      return was_let_in
    end
    local task = task_of(id)
    local most = task and line_of(task)
    if most then
      local full = call('ZCOUNT', key, 0, 0) > 0 or call('ZCOUNT', key, -1, -1) >= tonumber(most)
      if full then return was_let_in end --guard one_of_a_key
      call('ZADD', key, 0, id)
      task[BEHIND] = '0'
      keep(task)
      push(task)
      was_let_in = id
    else
      call('ZREM', key, id)
      set_aside(id)
    end
  end
end

-- Gives a task its place at the end of its line.
local function stand_in_line(task, line)
  local last = call('ZRANGE', P .. 'line:' .. line, -1, -1, 'WITHSCORES')[2]
  call('ZADD', P .. 'line:' .. line, math.max(tonumber(last) or 0, 0) + 1, task[ID])
  task[BEHIND] = '1'
  keep(task)
end

-- A task that is ready: with an order key it goes to the end of its line, unless it has its place there already.
local function enter(task)
  local most, line = line_of(task)
  if not most or call('ZSCORE', P .. 'line:' .. line, task[ID]) then
    return push(task)
  end
  stand_in_line(task, line)
  let_in(line)
end

-- Takes a task out of its line.
local function leave(task)
  local most, line = line_of(task)
  if most then
    call('ZREM', P .. 'line:' .. line, task[ID])
    task[BEHIND] = '0'
    let_in(line)
  end
end

-- The task has ended so, and nothing more happens to it by itself. Overlap looks at `waits` and `runs`.
local function finish(task, state)
  moved(task, task[STATE], state)
  task[STATE], task[FINISHED] = state, now_text
  keep(task)
  put(P .. 'ended:' .. state, now_text, task[ID])
  if task[PLAIN] == '0' then
    leave(task)
    if task[SCHEDULE] ~= '-' then
      call('SREM', P .. 'waits:' .. task[SCHEDULE], task[ID])
      call('SREM', P .. 'runs:' .. task[SCHEDULE], task[ID])
    end
  end
end

-- A task that was leased waits again.
local function hand_back(task, state)
  moved(task, 'leased', state)
  task[STATE] = state
  keep(task)
  if state == 'ready' then
    -- Back to its place in the queue, not to its end: it has waited since then.
    push(task)
  else
    put(P .. 'wait', task[READY], task[ID])
  end
  if task[SCHEDULE] ~= '-' then
    call('SMOVE', P .. 'runs:' .. task[SCHEDULE], P .. 'waits:' .. task[SCHEDULE], task[ID])
  end
  if task[EXPIRES] ~= '-' then
    put(P .. 'expiry', task[EXPIRES], task[ID])
  end
end

-- Whether something else is there under this id: a task of other content, or one of a later version. Ids of version 7
-- come from dice. `def` is what `add` gets.
local function is_taken(id, def)
  if string.sub(id, 15, 15) == '7' then
    return false
  end
  local task = task_of(id)
  if not task then
    return task == false
  end
  local fn, print = string.match(def, '^%d+ %S+ (%S+) %x+ (%x+)')
  return fn ~= task[FN] or print ~= string.match(task[TAIL], '^%x+ (%x+)')
end

-- A new task; one of this id that is there already stays as it is, and the answer is false. `def` is what never changes:
-- LENGTH QUEUE FUNCTION URGENCY PRINT[/AT_ONCE/LINE] JSON.
local function add(id, def, delay, expires, schedule, input)
  if task_of(id) ~= nil then
    return false
  end
  local ready, late = now_text, '-'
  if delay > 0 then
    ready = string.format('%.0f', now + delay)
  end
  if expires >= 0 then
    late = string.format('%.0f', now + expires)
    put(P .. 'expiry', late, id)
  end
  if schedule == '' then
    schedule = '-'
  else
    call('SADD', P .. 'waits:' .. schedule, id)
  end
  local length, queue, fn, tail, urgency, order = string.match(def, '^(%d+) (%S+) (%S+) ((%x+) %x+(%S*) .*)$')
  local plain = (late == '-' and schedule == '-' and order == '') and '1' or '0'
  local state = delay > 0 and 'scheduled' or 'ready'
  replace(id, TASK .. id, plain .. ' ' .. length .. ' ' .. state .. ' 0 - - - ' .. queue .. ' ' .. fn .. ' 0 0 ' .. now_text .. ' ' .. ready
    .. ' ' .. late .. ' 0 ' .. schedule .. ' ' .. tail)
  if input ~= '' then
    store(P .. 'input:' .. id, input)
  end
  put(P .. 'all', now_text, id)
  local pair = pair_of(queue, fn)
  add_up(pair.moved, nil, state)
  -- A clock that was set back makes tasks that the recount has yet to come to.
  if is_recounted(id, now_text) then
    add_up(pair.followed, nil, state)
  end
  if delay > 0 then
    put(P .. 'wait', ready, id)
  elseif order ~= '' then
    enter(task_of(id))
  else
    push_new(pair, urgency, ready, id)
  end
  return true
end

-- Tasks whose worker was not heard of: they may be claimed again, or are buried when they have lost too many leases.
local function lose(ids, most_lost, returned, dead)
  load(ids)
  for _, id in ipairs(ids) do
    local task = task_of(id)
    take(P .. 'leases', id)
    if not task then
      set_aside(id)
    elseif task[STATE] == 'leased' then
      local lost = tonumber(task[LOST]) + 1
      task[LOST] = string.format('%d', lost)
      if lost > most_lost then
        finish(task, 'dead')
        dead[#dead + 1] = id
      else
        hand_back(task, 'ready')
        returned[#returned + 1] = id
      end
    end
  end
end

-- Makes tasks ready whose time has come, a bounded number at a time. They can be claimed afterwards.
local function promote()
  local due = call('ZRANGEBYSCORE', P .. 'wait', '-inf', now_text, 'LIMIT', 0, 1000)
  if #due == 0 then
    return
  end
  -- First of all: this needs no memory, see `in_any_case`.
  call('ZREM', P .. 'wait', unpack(due))
  load(due)
  for _, id in ipairs(due) do
    local task = task_of(id)
    if not task then
      set_aside(id)
    elseif task[STATE] == 'scheduled' or task[STATE] == 'retry' then
      moved(task, task[STATE], 'ready')
      task[STATE] = 'ready'
      keep(task)
      enter(task)
    end
  end
  write()
end
