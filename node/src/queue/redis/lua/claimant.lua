-- Stands before the scripts that look for what a worker may have.

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
local function source(key, pair)
  return { key = key, pair = pair, items = {}, pos = 1, offset = 0, done = false, first_gone = 0 }
end

local FIRST_PIECE, LARGEST_PIECE = 4, 128

local sub = string.sub
local function id_of(member)
  return sub(member, 16, 51)
end

local function head(from)
  local member = from.items[from.pos]
  if member or from.done then
    return member
  end
  -- Who takes one piece takes the next as well: then it may be larger.
  from.piece = math.min((from.piece or FIRST_PIECE / 4) * 4, LARGEST_PIECE)
  from.items = call('ZRANGE', from.key, from.offset, from.offset + from.piece - 1)
  from.offset = from.offset + #from.items
  from.pos = 1
  from.done = #from.items < from.piece
  from.is_read = false
  return from.items[1]
end

-- Reads the task at the head, with those behind it; answers its id and its key.
local function read_head(from)
  if not from.is_read then
    from.is_read, from.before, from.ids = true, from.pos - 1, {}
    for at = from.pos, #from.items do
      from.ids[at - from.before] = id_of(from.items[at])
    end
    from.keys = load(from.ids)
  end
  local at = from.pos - from.before
  return from.ids[at], from.keys[at]
end

-- In how many ms the first of the tasks that wait for their time may be claimed; -1 when none waits for the claimant.
local function next_waiting(who)
  local most = 256
  local wanted = {}
  for _, queue in ipairs(who.queues) do
    wanted[queue] = true
  end
  local waiting = call('ZRANGE', P .. 'wait', 0, most - 1, 'WITHSCORES')
  local ids = {}
  for at = 1, #waiting, 2 do
    ids[#ids + 1] = waiting[at]
  end
  load(ids)
  for at = 1, #waiting, 2 do
    local due = tonumber(waiting[at + 1])
    local task = task_of(waiting[at])
    if task then
      local queue, expires = task[QUEUE], tonumber(task[EXPIRES])
      if (#who.queues == 0 or wanted[queue]) and who.room[task[FN]] ~= 0 and who.left[queue] ~= 0
        and (who.takes_suspect or tonumber(task[LOST]) < who.suspect_from)
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
