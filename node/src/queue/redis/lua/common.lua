-- Stands before every script. All keys of a mesh begin with KEYS[1], which holds the hash tag of Redis Cluster:
-- they live in one slot, so that a script may touch any of them. What each key holds is said in `keys.rs`.
--
-- A script is one atomic step, but Redis takes nothing back when one fails in the middle. So whatever may be
-- somebody else's value (a task's hash) is read with `pcall` before anything is written.
local P = KEYS[1]
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A server whose memory is full refuses a script's first write if that may need more, and no later one. What is begun
-- and ended makes room, and so does a schedule that is paused: so these scripts begin with a write that needs none.
-- `complete`, `sweep`, `cancel` and `forget` do so anyway. What brings new tasks is refused before it has written
-- anything.
local function in_any_case()
  call('ZREM', P .. 'aside', '')
end

-- Of a task's `def`: queue, function, urgency, length of the input in bytes.
local function parts(def)
  return string.match(def, '^(%S+) (%S+) (%x%x%x%x) (%d+) ')
end

-- Where a ready task stands: the key of its queue and function, and a member whose order is the order of claims:
-- urgency, waiting since, id. Tasks that have lost leases stand apart and say at the end how many.
local function place(queue, fn, urgency, since, id, lost)
  local member = urgency .. string.format('%011x', math.min(since, 0xfffffffffff)) .. id
  if lost > 0 then
    return P .. 'again:' .. queue .. ':' .. fn, member .. string.format('%04x', math.min(lost, 0xffff))
  end
  return P .. 'ready:' .. queue .. ':' .. fn, member
end

-- How many tasks there are of each queue in each state, and of each function on leases. Collected while a script runs
-- and written at its end.
local counts, fields = {}, {}
local function count(field, by)
  if not counts[field] then
    counts[field] = 0
    fields[#fields + 1] = field
  end
  counts[field] = counts[field] + by
end

-- A task goes from one state to another; it comes from none, or goes to none.
local function moved(def, from, to)
  local queue, fn = parts(def)
  if from then
    count(queue .. ' ' .. from, -1)
  end
  if to then
    count(queue .. ' ' .. to, 1)
  end
  if from == 'leased' then
    count('leased:' .. fn, -1)
  elseif to == 'leased' then
    count('leased:' .. fn, 1)
  end
end

local function write_counts()
  for _, field in ipairs(fields) do
    if counts[field] ~= 0 then
      call('HINCRBY', P .. 'counts', field, counts[field])
    end
  end
end

-- Makes a task claimable.
local function push(id, def, since, lost)
  local queue, fn, urgency = parts(def)
  local key, member = place(queue, fn, urgency, since, id, lost)
  call('ZADD', key, 0, member)
  call('ZADD', P .. 'ready', 0, queue .. ' ' .. fn)
end

-- Takes a task that nobody has begun out of where it waits.
local function pull(id, state, def, since, lost)
  if state == 'ready' then
    local queue, fn, urgency = parts(def)
    local key, member = place(queue, fn, urgency, since, id, lost)
    call('ZREM', key, member)
  else
    call('ZREM', P .. 'wait', id)
  end
  call('ZREM', P .. 'expiry', id)
end

-- What is no task of ours, or has lost what makes it one: out of everybody's way, and counted.
local function set_aside(id)
  call('ZADD', P .. 'aside', now, id)
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
local function finish(id, def, from, state, schedule)
  moved(def, from, state)
  call('HSET', P .. 'task:' .. id, 'state', state, 'finished', now)
  call('ZADD', P .. 'ended:' .. state, now, id)
  leave(id, def)
  if schedule then
    call('SREM', P .. 'waits:' .. schedule, id)
    call('SREM', P .. 'runs:' .. schedule, id)
  end
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
  local since = now + delay
  local values = { 'state', delay > 0 and 'scheduled' or 'ready', 'created', now, 'ready', since }
  if expires >= 0 then
    values[#values + 1] = 'expires'
    values[#values + 1] = now + expires
    call('ZADD', P .. 'expiry', now + expires, id)
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
  call('ZADD', P .. 'all', now, id)
  moved(def, nil, values[2])
  if delay > 0 then
    call('ZADD', P .. 'wait', since, id)
  else
    enter(id, def, since, 0)
  end
end

-- A task whose worker was not heard of: it may be claimed again, or is buried when it has lost too many leases.
local function lose(id, most_lost, returned, dead)
  local key = P .. 'task:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'def', 'ready', 'lost', 'schedule', 'expires')
  call('ZREM', P .. 'leases', id)
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
      moved(task[2], 'leased', 'ready')
      push(id, task[2], tonumber(task[3]), lost)
      if task[5] then
        call('SMOVE', P .. 'runs:' .. task[5], P .. 'waits:' .. task[5], id)
      end
      if task[6] then
        call('ZADD', P .. 'expiry', task[6], id)
      end
      returned[#returned + 1] = id
    end
  end
end

-- Makes tasks ready whose time has come, a bounded number at a time.
local function promote()
  local due = call('ZRANGEBYSCORE', P .. 'wait', '-inf', now, 'LIMIT', 0, 1000)
  if #due > 0 then
    -- First of all: this needs no memory, see `in_any_case`.
    call('ZREM', P .. 'wait', unpack(due))
  end
  for _, id in ipairs(due) do
    local task = redis.pcall('HMGET', P .. 'task:' .. id, 'def', 'ready', 'lost', 'state')
    if task.err or not task[1] or not parts(task[1]) then
      set_aside(id)
    else
      call('HSET', P .. 'task:' .. id, 'state', 'ready')
      moved(task[1], task[4] or 'scheduled', 'ready')
      enter(id, task[1], tonumber(task[2]) or now, tonumber(task[3]) or 0)
    end
  end
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
  return { key = key, queue = queue, fn = fn, items = {}, pos = 1, offset = 0, done = false, gone = {} }
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
