-- Stands before every script. All keys of a mesh begin with KEYS[1], which holds the hash tag of Redis Cluster:
-- they live in one slot, so that a script may touch any of them. What each key holds is said in `keys.rs`.
--
-- A script is one atomic step, but Redis takes nothing back when one fails in the middle. So whatever may be
-- somebody else's value (a task's hash) is read with `pcall` before anything is written.
local P = KEYS[1]
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- As text: whatever hands a number to the server has it printed with all the digits of a double, each time anew.
local now_text = string.format('%.0f', now)

-- A server whose memory is full refuses a script's first write if that may need more, and no later one. What is begun
-- and ended makes room, and so does a schedule that is paused: so these scripts begin with a write that needs none. What
-- brings new tasks is refused before it has written anything.
local function in_any_case()
  call('ZREM', P .. 'aside', '')
end

-- Of a task's `def`: queue, function, urgency, length of the input in bytes.
local function parts(def)
  return string.match(def, '^(%S+) (%S+) (%x%x%x%x) (%d+) ')
end

-- A time as it stands in a member; tasks that come together have the same one.
local seen, in_hex
local function hex(since)
  if since ~= seen then
    seen, in_hex = since, string.format('%011x', math.min(since, 0xfffffffffff))
  end
  return in_hex
end

-- Where a ready task stands: the key of its queue and function, and a member whose order is the order of claims:
-- urgency, waiting since, id. Tasks that have lost leases stand apart and say at the end how many.
local function place(queue, fn, urgency, since, id, lost)
  local member = urgency .. hex(since) .. id
  if lost > 0 then
    return P .. 'again:' .. queue .. ':' .. fn, member .. string.format('%04x', math.min(lost, 0xffff))
  end
  return P .. 'ready:' .. queue .. ':' .. fn, member
end

-- What a script adds to sorted sets, takes out of them, and how many tasks change their state, is collected while it
-- runs and written by `write`: a command for each set costs far less than one for each task. What is read before
-- `write` is as it was before.
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

local added, removed, counts = collection(), collection(), { order = {}, by = {} }

local function put(key, score, member)
  local items = collected(added, key)
  items[#items + 1] = score
  items[#items + 1] = member
end

local function take(key, member)
  local items = collected(removed, key)
  items[#items + 1] = member
end

-- How many tasks there are of each queue in each state, and of each function on leases; with `n:` before them the sums
-- of a recount.
local function count(field, by)
  if not counts.by[field] then
    counts.by[field] = 0
    counts.order[#counts.order + 1] = field
  end
  counts.by[field] = counts.by[field] + by
end

-- While `scan` counts anew, piece by piece in the order of `all`: how far it has come, and up to where it goes. What it
-- has counted, and what is younger than its beginning, goes along with every move, so that its sums are right when it
-- comes to the end, however much happens meanwhile. `made` is when the task was, if that is known.
local recount
local function is_recounted(id, made)
  if recount == nil then
    local at = call('HMGET', P .. 'recount', 'at', 'id', 'upto')
    recount = at[1] and { at = tonumber(at[1]), id = at[2], upto = tonumber(at[3]) }
  end
  if not recount then
    return false
  end
  made = made or tonumber(call('ZSCORE', P .. 'all', id))
  return made and (made > recount.upto or made < recount.at or (made == recount.at and id <= recount.id))
end

-- So many tasks of a queue and function go from one state to another; they come from none, or go to none. `prefix` says
-- in which of the hashes.
local function count_move(prefix, queue, fn, from, to, tasks)
  if from then
    count(prefix .. queue .. ' ' .. from, -tasks)
  end
  if to then
    count(prefix .. queue .. ' ' .. to, tasks)
  end
  if from == 'leased' then
    count(prefix .. 'leased:' .. fn, -tasks)
  elseif to == 'leased' then
    count(prefix .. 'leased:' .. fn, tasks)
  end
end

-- These tasks do. `made` is when, if all of them are new.
local function moved_of(queue, fn, from, to, ids, made)
  if #ids == 0 then
    return
  end
  count_move('', queue, fn, from, to, #ids)
  -- The first one asks whether there is a recount at all.
  local followed = is_recounted(ids[1], made) and 1 or 0
  if recount then
    for at = 2, #ids do
      if is_recounted(ids[at], made) then
        followed = followed + 1
      end
    end
    if followed > 0 then
      count_move('n:', queue, fn, from, to, followed)
    end
  end
end

-- One task does.
local function moved(id, def, from, to, made)
  local queue, fn = parts(def)
  moved_of(queue, fn, from, to, { id }, made)
end

-- Members in one command: as many as Lua's stack bears.
local AT_ONCE = 1000

local function write()
  if #removed.order + #added.order + #counts.order == 0 then
    return
  end
  for _, key in ipairs(removed.order) do
    local items = removed.of[key]
    for at = 1, #items, AT_ONCE do
      call('ZREM', key, unpack(items, at, math.min(at + AT_ONCE - 1, #items)))
    end
  end
  for _, key in ipairs(added.order) do
    local items = added.of[key]
    for at = 1, #items, AT_ONCE do
      call('ZADD', key, unpack(items, at, math.min(at + AT_ONCE - 1, #items)))
    end
  end
  for _, field in ipairs(counts.order) do
    if counts.by[field] ~= 0 then
      call('HINCRBY', P .. (string.sub(field, 1, 2) == 'n:' and 'recount' or 'counts'), field, counts.by[field])
    end
  end
  added, removed, counts = collection(), collection(), { order = {}, by = {} }
end

-- Makes a task claimable.
local function push(id, def, since, lost)
  local queue, fn, urgency = parts(def)
  local key, member = place(queue, fn, urgency, since, id, lost)
  if not added.of[key] then
    put(P .. 'ready', 0, queue .. ' ' .. fn)
  end
  put(key, 0, member)
end

-- Takes a task that nobody has begun out of where it waits.
local function pull(id, state, def, since, lost)
  if state == 'ready' then
    local queue, fn, urgency = parts(def)
    take(place(queue, fn, urgency, since, id, lost))
  else
    take(P .. 'wait', id)
  end
  take(P .. 'expiry', id)
end

-- What is no task of ours, or has lost what makes it one: out of everybody's way, and counted.
local function set_aside(id)
  put(P .. 'aside', now_text, id)
end

-- Of a task with an order key: how many of its line run at once, and the line.
local function line_of(def)
  return string.match(def, '^%S+ %S+ %x+ %d+ %x+/(%d+)/(%x+) ')
end

-- Lets in who is next in a line, when it may. Places are those of `order.rs`: greater than 0 waits, 0 is let in, -1 has
-- begun.
local function let_in(line)
  local key = P .. 'line:' .. line
  while true do
    local id = call('ZRANGEBYSCORE', key, 1, '+inf', 'LIMIT', 0, 1)[1]
    if not id then
      return
    end
    local task = redis.pcall('HMGET', P .. 'task:' .. id, 'def', 'ready', 'lost')
    local most = not task.err and task[1] and line_of(task[1])
    if most then
      local full = call('ZCOUNT', key, 0, 0) > 0 or call('ZCOUNT', key, -1, -1) >= tonumber(most)
      if full then return end --guard one_of_a_key
      call('ZADD', key, 0, id)
      call('HDEL', P .. 'task:' .. id, 'behind')
      push(id, task[1], tonumber(task[2]) or now, tonumber(task[3]) or 0)
    else
      call('ZREM', key, id)
      set_aside(id)
    end
  end
end

-- A task that is ready: with an order key it goes to the end of its line, unless it has its place there already.
local function enter(id, def, since, lost)
  local most, line = line_of(def)
  if not most or call('ZSCORE', P .. 'line:' .. line, id) then
    return push(id, def, since, lost)
  end
  local last = call('ZRANGE', P .. 'line:' .. line, -1, -1, 'WITHSCORES')[2]
  call('ZADD', P .. 'line:' .. line, math.max(tonumber(last) or 0, 0) + 1, id)
  call('HSET', P .. 'task:' .. id, 'behind', 1)
  let_in(line)
end

-- Takes a task out of its line.
local function leave(id, def)
  local most, line = line_of(def)
  if most then
    call('ZREM', P .. 'line:' .. line, id)
    call('HDEL', P .. 'task:' .. id, 'behind')
    let_in(line)
  end
end

-- Nothing more happens to the task by itself. Overlap looks at `waits` and `runs`.
local function conclude(id, def, state, schedule)
  put(P .. 'ended:' .. state, now_text, id)
  leave(id, def)
  if schedule then
    call('SREM', P .. 'waits:' .. schedule, id)
    call('SREM', P .. 'runs:' .. schedule, id)
  end
end

-- The task has ended so.
local function finish(id, def, from, state, schedule)
  moved(id, def, from, state)
  call('HSET', P .. 'task:' .. id, 'state', state, 'finished', now_text)
  conclude(id, def, state, schedule)
end

-- Whether a task of this id is there with other content. Ids of version 7 come from dice.
local function is_taken(id, def)
  if string.sub(id, 15, 15) == '7' then
    return false
  end
  local known = call('HGET', P .. 'task:' .. id, 'def')
  local print = '^%S+ %S+ %x+ %d+ (%x+)'
  return known and string.match(known, print) ~= string.match(def, print)
end

-- A new task; one of this id that is there already stays as it is.
local function add(id, def, delay, expires, schedule, input)
  local key = P .. 'task:' .. id
  if call('HSETNX', key, 'def', def) == 0 then
    return
  end
  local since, since_text = now, now_text
  if delay > 0 then
    since, since_text = now + delay, string.format('%.0f', now + delay)
  end
  local values = { 'state', delay > 0 and 'scheduled' or 'ready', 'created', now_text, 'ready', since_text }
  if expires >= 0 then
    local late = string.format('%.0f', now + expires)
    values[#values + 1] = 'expires'
    values[#values + 1] = late
    put(P .. 'expiry', late, id)
  end
  if schedule ~= '' then
    values[#values + 1] = 'schedule'
    values[#values + 1] = schedule
    call('SADD', P .. 'waits:' .. schedule, id)
  end
  if input ~= '' then
    values[#values + 1] = 'input'
    values[#values + 1] = input
  end
  call('HSET', key, unpack(values))
  put(P .. 'all', now_text, id)
  moved(id, def, nil, values[2], now)
  if delay > 0 then
    put(P .. 'wait', since_text, id)
  else
    enter(id, def, since, 0)
  end
end

-- A task whose worker was not heard of: it may be claimed again, or is buried when it has lost too many leases.
local function lose(id, most_lost, returned, dead)
  local key = P .. 'task:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'def', 'ready', 'lost', 'schedule', 'expires')
  take(P .. 'leases', id)
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
      moved(id, task[2], 'leased', 'ready')
      push(id, task[2], tonumber(task[3]), lost)
      if task[5] then
        call('SMOVE', P .. 'runs:' .. task[5], P .. 'waits:' .. task[5], id)
      end
      if task[6] then
        put(P .. 'expiry', task[6], id)
      end
      returned[#returned + 1] = id
    end
  end
end

-- Makes tasks ready whose time has come, a bounded number at a time. They can be read afterwards.
local function promote()
  local due = call('ZRANGEBYSCORE', P .. 'wait', '-inf', now_text, 'LIMIT', 0, 1000)
  if #due > 0 then
    -- First of all: this needs no memory, see `in_any_case`.
    call('ZREM', P .. 'wait', unpack(due))
  end
  for _, id in ipairs(due) do
    local task = redis.pcall('HMGET', P .. 'task:' .. id, 'def', 'ready', 'lost', 'state')
    if task.err or not task[1] or not parts(task[1]) then
      set_aside(id)
    elseif task[4] == 'scheduled' or task[4] == 'retry' then
      call('HSET', P .. 'task:' .. id, 'state', 'ready')
      moved(id, task[1], task[4], 'ready')
      enter(id, task[1], tonumber(task[2]) or now, tonumber(task[3]) or 0)
    end
  end
  write()
end

-- The queues and functions that may hold ready tasks: of the queues named, or of all, at most `most` pairs. When
-- there are more, the next look goes on behind `turn`: nobody's names keep others from their turn.
local function pairs_of(queues, turn, most)
  local found = {}
  if #queues > 0 then
    for _, queue in ipairs(queues) do
      for _, pair in ipairs(call('ZRANGEBYLEX', P .. 'ready', '[' .. queue .. ' ', '(' .. queue .. '!', 'LIMIT', 0, most)) do
        found[#found + 1] = pair
      end
    end
    return found, ''
  end
  found = call('ZRANGEBYLEX', P .. 'ready', turn == '' and '-' or '(' .. turn, '+', 'LIMIT', 0, most)
  if #found == most then
    return found, found[most]
  end
  if turn ~= '' then
    local rest = call('ZRANGEBYLEX', P .. 'ready', '-', '[' .. turn, 'LIMIT', 0, most - #found)
    for _, pair in ipairs(rest) do
      found[#found + 1] = pair
    end
    if #found == most then
      return found, found[most]
    end
  end
  return found, ''
end

-- Whoever claims, as ARGV says it from `at` on: whether it takes a suspect, from how many lost leases on one is; then
-- lists, each with its length first: its queues; how far queues are ahead and what a task costs them; of which functions
-- it takes how many at most; how many of a function, and of a queue, may run in the whole mesh.
local function claimant(at)
  local who = { takes_suspect = ARGV[at] == '1', suspect_from = tonumber(ARGV[at + 1]), queues = {}, pass = {}, cost = {}, room = {}, left = {} }
  at = at + 2
  local function each(width, take)
    for n = at + 1, at + width * tonumber(ARGV[at]), width do
      take(ARGV[n], tonumber(ARGV[n + 1]), tonumber(ARGV[n + 2]))
    end
    at = at + 1 + width * tonumber(ARGV[at])
  end
  each(1, function(queue) who.queues[#who.queues + 1] = queue end)
  each(3, function(queue, pass, cost) who.pass[queue], who.cost[queue] = pass, cost end)
  each(2, function(fn, most) who.room[fn] = most end)
  local function running(field)
    return tonumber(call('HGET', P .. 'counts', field) or 0)
  end
  each(2, function(fn, limit)
    local left = math.max(0, limit - running('leased:' .. fn))
    who.room[fn] = math.min(who.room[fn] or left, left)
  end)
  each(2, function(queue, limit)
    who.left[queue] = math.max(0, limit - running(queue .. ' leased'))
  end)
  return who
end

-- Ready tasks of one key in the order of claims, read piece by piece.
local function source(key, queue, fn)
  return { key = key, queue = queue, fn = fn, items = {}, pos = 1, offset = 0, done = false, gone = {}, taken = {} }
end

local PIECE = 16

local function head(from)
  local member = from.items[from.pos]
  if member or from.done then
    return member
  end
  from.items = call('ZRANGE', from.key, from.offset, from.offset + PIECE - 1)
  from.offset = from.offset + #from.items
  from.pos = 1
  from.done = #from.items < PIECE
  return from.items[1]
end

-- In how many ms the first of the tasks that wait for their time may be claimed; -1 when none waits for the claimant.
local function next_waiting(who)
  local most = 256
  local wanted = {}
  for _, queue in ipairs(who.queues) do
    wanted[queue] = true
  end
  local waiting = call('ZRANGE', P .. 'wait', 0, most - 1, 'WITHSCORES')
  for at = 1, #waiting, 2 do
    local due = tonumber(waiting[at + 1])
    local task = redis.pcall('HMGET', P .. 'task:' .. waiting[at], 'def', 'lost', 'expires')
    if not task.err and task[1] then
      local queue, fn = parts(task[1])
      local expires = tonumber(task[3])
      if (#who.queues == 0 or wanted[queue]) and who.room[fn] ~= 0 and who.left[queue] ~= 0
        and (who.takes_suspect or (tonumber(task[2]) or 0) < who.suspect_from)
        and (not expires or (expires > due and expires > now)) then
        return math.max(0, due - now)
      end
    end
  end
  if #waiting == 2 * most then
    return math.max(0, tonumber(waiting[#waiting]) - now)
  end
  return -1
end
