-- Records how attempts ended, each once and only for the current attempt.
-- ARGV: of each its task's id, attempt, how it ended (done, failed, retry, back), pause before the retry in ms,
-- output behind its media type, error, log tail. Answers the state of each afterwards, 'stale' for those that changed
-- nothing.
in_any_case()

local WIDTH = 7
local ids = {}
for at = 1, #ARGV, WIDTH do
  ids[#ids + 1] = ARGV[at]
end
local keys = load(ids)

-- What an attempt before this one has left goes.
local function store_or_drop(kind, id, attempt, value)
  if value ~= '' then
    store(P .. kind .. id, value)
  elseif attempt ~= '1' then
    drop(P .. kind .. id)
  end
end

-- Records one end; answers the state afterwards.
local function end_of(at)
  local id, attempt, how = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local task = task_of(id)
  local held = task
    and task[STATE] == 'leased' and task[ATTEMPT] == attempt --guard attempt_token
  if not held then
    return 'stale'
  end
  take(P .. 'leases', id)
  store_or_drop('output:', id, attempt, ARGV[at + 4])
  store_or_drop('error:', id, attempt, ARGV[at + 5])
  store_or_drop('log:', id, attempt, ARGV[at + 6])
  if how == 'failed' or how == 'retry' then
    task[FAILURES] = string.format('%d', task[FAILURES] + 1)
  end
  if how == 'done' and task[LENGTH] ~= '0' then
    -- Nobody runs it again, so nobody needs its input.
    drop(P .. 'input:' .. id)
  end
  if how == 'done' or how == 'failed' then
    finish(task, how)
  elseif how == 'retry' then
    task[READY] = string.format('%.0f', now + tonumber(ARGV[at + 3]))
    hand_back(task, 'retry')
  else
    hand_back(task, 'ready')
  end
  return task[STATE]
end

-- How it is with a plain task that is done: as `end_of`, but from text to text, see `claim.lua`.
local HELD, DONE = '^1 (%d+) leased (%d+ %S+ %S+) %- ', '1 %1 done %2 ' .. now_text .. ' '
local by_text = not is_recounting()

local answer, leases, ended = {}, collected(removed, P .. 'leases'), collected(added, P .. 'ended:done')
for at = 1, #ARGV, WIDTH do
  local id, attempt, how = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local length, held_by, queue, fn
  if by_text and how == 'done' and type(known[id]) == 'string' then
    length, held_by, queue, fn = string.match(known[id], '^1 (%d+) leased (%d+) %S+ %S+ %- (%S+) (%S+) ')
  end
  if length and held_by == attempt then
    leases[#leases + 1] = id
    store_or_drop('output:', id, attempt, ARGV[at + 4])
    if attempt ~= '1' then
      drop(P .. 'error:' .. id)
    end
    store_or_drop('log:', id, attempt, ARGV[at + 6])
    if length ~= '0' then
      drop(P .. 'input:' .. id)
    end
    replace(id, keys[#answer + 1], (string.gsub(known[id], HELD, DONE, 1)))
    add_up(pair_of(queue, fn).moved, 'leased', 'done')
    ended[#ended + 1], ended[#ended + 2] = now_text, id
    answer[#answer + 1] = 'done'
  else
    answer[#answer + 1] = end_of(at)
  end
end
write()
return answer
