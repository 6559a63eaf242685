-- Looks at a piece of what there is and puts right what disagrees: a task's value says its state, and the state says in
-- which places its id stands. No script leaves them otherwise; a failover that kept half, a person or a bug may.
-- ARGV: what to do, then
--   keys:  the cursor, how many keys to look at. Every task is compared with its places, every place with its tasks.
--   place: the cursor, how many entries to look at, the place's name.
--   count: the cursor (0 begins), how many tasks to look at. Counts all of them anew, by state; and lets in who is next in
--          its line, because by then all that run stand in theirs.
-- Answers: the next cursor ('0' at the end), of places that were not walked to their end the name and the cursor, of
-- each repair its kind and what it was about.
--
-- Whoever adds a place adds it to `TYPES` and `WALKED`, to `check` (a task that must be there) and to `stands` (an entry that must
-- not).
local what, cursor, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
in_any_case()

local rest, repairs = {}, {}
local function repaired(kind, which)
  repairs[#repairs + 1] = kind
  repairs[#repairs + 1] = which
end

-- What stands under each key, by its name up to the first colon.
local TYPES = {
  task = 'string', input = 'string', output = 'string', error = 'string', log = 'string', counts = 'hash', recount = 'hash', schedules = 'hash',
  ready = 'zset', again = 'zset', wait = 'zset', leases = 'zset', expiry = 'zset', ended = 'zset', all = 'zset',
  aside = 'zset', line = 'zset', lines = 'zset', ticks = 'zset', waits = 'set', runs = 'set',
}
local WALKED = { ['ready:'] = true, ['again:'] = true, wait = true, leases = true, expiry = true, ['ended:'] = true, ['line:'] = true, all = true, ['waits:'] = true, ['runs:'] = true }

-- No lease is so long: one that ends later was not written by a claim, and would never run out.
local LONGEST_LEASE = 365 * 86400000

-- What stands beside a task and goes with it.
local BESIDE = { ['input:'] = true, ['output:'] = true, ['error:'] = true, ['log:'] = true }

-- No task of ours, or one that has lost what makes it one: noted once.
local function strange(id)
  if call('ZADD', P .. 'aside', 'NX', now, id) == 1 then
    repaired('set_aside', id)
  end
end

-- A task; nothing when there is none, false when what is there is none of ours.
local function read(id)
  local task = task_of(id)
  if task == nil and call('EXISTS', P .. 'task:' .. id) == 1 then
    return false
  end
  return task
end

-- A task's place in the line of its order key: greater than 0 waits, so that it stands nowhere else; nothing when it
-- has no key, or is not in its line.
local function place_in_line(task)
  local _, line = line_of(task)
  return line and tonumber(call('ZSCORE', P .. 'line:' .. line, task[ID])), line
end

-- Whether an entry of a place is where it belongs.
local function stands(name, kind, entry, task)
  local state = task[STATE]
  if kind == 'all' then
    return true
  elseif kind == 'ready:' or kind == 'again:' then
    local key, member = place(task)
    return state == 'ready' and key == P .. name and member == entry and (place_in_line(task) or 0) <= 0
  elseif kind == 'wait' then
    return state == 'scheduled' or state == 'retry'
  elseif kind == 'leases' then
    return state == 'leased'
  elseif kind == 'expiry' then
    return WAITS[state] and task[EXPIRES] ~= '-'
  elseif kind == 'ended:' then
    return name == 'ended:' .. state
  elseif kind == 'line:' then
    local _, line = line_of(task)
    return line == string.sub(name, 6) and (state == 'ready' or state == 'leased' or state == 'retry')
  elseif kind == 'waits:' then
    return WAITS[state] and name == 'waits:' .. task[SCHEDULE]
  elseif kind == 'runs:' then
    return state == 'leased' and name == 'runs:' .. task[SCHEDULE]
  end
end

-- Looks at a task's entries where it must have some.
local function check(id)
  local task = read(id)
  if not task then
    return task == false and strange(id)
  end
  local function scored(name, score)
    local known = call('ZSCORE', P .. name, id)
    if tonumber(known) ~= score then
      call('ZADD', P .. name, score, id)
      repaired('placed', id .. ' in ' .. name)
    end
  end
  local state = task[STATE]
  scored('all', tonumber(task[CREATED]))
  local at, line = place_in_line(task)
  if line and (state == 'leased' or state == 'retry') and at ~= -1 then
    call('ZADD', P .. 'line:' .. line, -1, id)
    repaired('placed', id .. ' in line:' .. line)
  elseif line and state == 'ready' and not at then
    -- At the end of its line: others may have passed it.
    take(place(task))
    stand_in_line(task, line)
    repaired('placed', id .. ' in line:' .. line)
  elseif state == 'ready' and (at or 0) <= 0 then
    local key, member = place(task)
    if not call('ZSCORE', key, member) or not call('ZSCORE', P .. 'ready', task[QUEUE] .. ' ' .. task[FN]) then
      push(task)
      repaired('placed', id .. ' in ' .. string.sub(key, #P + 1))
    end
  end
  if state == 'leased' then
    -- Nobody knows how long it was to run: it runs out now, and whoever still holds it may renew it first.
    local till = tonumber(call('ZSCORE', P .. 'leases', id))
    if not till or till > now + LONGEST_LEASE then
      scored('leases', now)
    end
  elseif ENDED[state] then
    scored('ended:' .. state, tonumber(task[FINISHED]) or now)
  elseif state ~= 'ready' then
    scored('wait', tonumber(task[READY]))
  end
  if WAITS[state] and task[EXPIRES] ~= '-' then
    scored('expiry', tonumber(task[EXPIRES]))
  end
  if task[SCHEDULE] ~= '-' and not ENDED[state] then
    local name = (state == 'leased' and 'runs:' or 'waits:') .. task[SCHEDULE]
    if call('SADD', P .. name, id) == 1 then
      repaired('placed', id .. ' in ' .. name)
    end
  end
  -- What comes next in this piece must see it.
  write()
end

-- Walks a place from a cursor on.
local function walk(name, from)
  local kind = string.match(name, '^[^:]*:?')
  local is_set = kind == 'waits:' or kind == 'runs:'
  local page = call(is_set and 'SSCAN' or 'ZSCAN', P .. name, from, 'COUNT', math.max(10, math.min(left, 100)))
  local function id_of(entry)
    return (kind == 'ready:' or kind == 'again:') and string.sub(entry, 16, 51) or entry
  end
  local ids = {}
  for at = 1, #page[2], is_set and 1 or 2 do
    ids[#ids + 1] = id_of(page[2][at])
  end
  load(ids)
  for at = 1, #page[2], is_set and 1 or 2 do
    local entry = page[2][at]
    local id = id_of(entry)
    local task = read(id)
    left = left - 1
    if task == false then
      strange(id)
    end
    if not task or not stands(name, kind, entry, task) then
      call(is_set and 'SREM' or 'ZREM', P .. name, entry)
      repaired('displaced', id .. ' from ' .. name)
    end
  end
  return page[1]
end

local function keys()
  local page = call('SCAN', cursor, 'MATCH', P .. '*', 'COUNT', left)
  local ids = {}
  for _, key in ipairs(page[2]) do
    ids[#ids + 1] = string.match(string.sub(key, #P + 1), '^task:(.*)$')
  end
  load(ids)
  for _, key in ipairs(page[2]) do
    local name = string.sub(key, #P + 1)
    local kind = string.match(name, '^[^:]*:?')
    local wanted = kind ~= 'aside:' and TYPES[string.match(name, '^[^:]*')]
    local found = wanted and call('TYPE', key).ok
    if kind == 'task:' and found == wanted then
      check(string.sub(name, 6))
      left = left - 1
    elseif kind == 'task:' then
      strange(string.sub(name, 6))
    elseif wanted and found ~= wanted and found ~= 'none' then
      -- A value of another kind stands in the way of every script that comes by.
      call('RENAME', key, P .. 'aside:' .. name)
      repaired('set_aside', name)
    elseif BESIDE[kind] then
      local id = string.sub(name, #kind + 1)
      if found ~= 'none' and read(id) == nil then
        drop(key)
        write()
        repaired('displaced', id .. ' from ' .. string.sub(kind, 1, -2))
      end
    elseif WALKED[kind] and found ~= 'none' then
      local next = left > 0 and walk(name, '0') or '0'
      if left <= 0 or next ~= '0' then
        rest[#rest + 1] = name
        rest[#rest + 1] = next
      end
    end
  end
  return page[1]
end

-- Writes the counts that a recount has found where others stand.
local function settle()
  local wanted, order = {}, {}
  local flat = call('HGETALL', P .. 'recount')
  for at = 1, #flat, 2 do
    local field = string.match(flat[at], '^n:(.*)$')
    if field then
      wanted[field] = tonumber(flat[at + 1])
      order[#order + 1] = field
    end
  end
  local known = {}
  flat = call('HGETALL', P .. 'counts')
  for at = 1, #flat, 2 do
    known[flat[at]] = flat[at + 1]
    if not wanted[flat[at]] then
      order[#order + 1] = flat[at]
    end
  end
  for _, field in ipairs(order) do
    local right, stood = wanted[field] or 0, known[field]
    if tonumber(stood or 0) ~= right then
      call('HSET', P .. 'counts', field, right)
      repaired('counted', field .. ': ' .. right .. ', not ' .. (stood or 0))
    end
    if right == 0 then
      call('HDEL', P .. 'counts', field)
    end
  end
  call('DEL', P .. 'recount')
end

-- Lets in who is next in a task's line, if nobody in it keeps others out.
local function let_in_behind(task)
  local at, line = place_in_line(task)
  local id = at and at > 0 and let_in(line)
  if id then
    repaired('placed', id .. ' in line:' .. line)
    write()
  end
end

local function recounted()
  if cursor == '0' then
    call('DEL', P .. 'recount')
    -- Younger ones come later; but a clock that was set back has left some that seem to.
    local youngest = tonumber(call('ZRANGE', P .. 'all', -1, -1, 'WITHSCORES')[2]) or now
    call('HSET', P .. 'recount', 'at', '-1', 'id', '', 'upto', string.format('%.0f', math.max(now, youngest)))
  end
  local from = call('HMGET', P .. 'recount', 'at', 'id', 'upto')
  if not from[1] then
    -- It was lost with a store that was emptied, or somebody else came to its end.
    return '0'
  end
  local at, id, upto = from[1], from[2], tonumber(from[3])
  local rank = call('ZRANK', P .. 'all', id)
  local first = rank and rank + 1 or call('ZCOUNT', P .. 'all', '-inf', '(' .. at)
  local page = call('ZRANGE', P .. 'all', first, first + left - 1, 'WITHSCORES')
  -- The one that was counted last may be gone; those of the same time that stand before it are counted already.
  while #page > 0 and page[#page] == at and page[#page - 1] <= id do
    first = first + #page / 2
    page = call('ZRANGE', P .. 'all', first, first + left - 1, 'WITHSCORES')
  end
  local sums, order = {}, {}
  local function sum(field)
    if not sums[field] then
      sums[field] = 0
      order[#order + 1] = field
    end
    sums[field] = sums[field] + 1
  end
  local ids = {}
  for n = 1, #page, 2 do
    ids[#ids + 1] = page[n]
  end
  load(ids)
  local is_last = #page < 2 * left
  for n = 1, #page, 2 do
    local member, made = page[n], page[n + 1]
    if tonumber(made) > upto then
      -- Younger ones were counted when they came.
      is_last = true
      break
    end
    if not (made == at and member <= id) then
      local task = task_of(member)
      if task then
        sum(task[QUEUE] .. ' ' .. task[STATE])
        if task[STATE] == 'leased' then
          sum('leased:' .. task[FN])
        end
        let_in_behind(task)
      end
      at, id = made, member
    end
  end
  for _, field in ipairs(order) do
    call('HINCRBY', P .. 'recount', 'n:' .. field, sums[field])
  end
  if is_last then
    settle()
    return '0'
  end
  call('HSET', P .. 'recount', 'at', at, 'id', id)
  return '1'
end

local next
if what == 'keys' then
  next = keys()
elseif what == 'place' then
  next = walk(ARGV[4], cursor)
else
  next = recounted()
end
return { next, rest, repairs }
