-- Records how attempts ended, each once and only for the current attempt.
-- ARGV: of each its task's id, attempt, how it ended (done, failed, retry, back), pause before the retry in ms,
-- output, its media type, error, log tail. Answers the state of each afterwards, 'stale' for those that changed
-- nothing.
in_any_case()

local answer, leases = {}, P .. 'leases'

-- What is written of one task, and what an attempt before this one has left and goes.
local attempt, fields, old
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
local function set_or_drop(name, value)
  if value ~= '' then
    set(name, value)
  elseif attempt ~= '1' then
    old[#old + 1] = name
  end
end

for at = 1, #ARGV, 8 do
  local id, how = ARGV[at], ARGV[at + 2]
  local key = P .. 'task:' .. id
  attempt = ARGV[at + 1]
  local task = redis.pcall('HMGET', key, 'state', 'attempt', 'def', 'ready', 'lost', 'failures', 'schedule', 'expires')
  local held = not task.err and task[3]
    and task[1] == 'leased' and task[2] == attempt --guard attempt_token
  if not held then
    answer[#answer + 1] = 'stale'
  else
    local queue, fn, _, length = parts(task[3])
    local state = how == 'back' and 'ready' or how
    fields, old = { 'state', state }, {}
    take(leases, id)
    moved_of(queue, fn, 'leased', state, { id })
    set_or_drop('log', ARGV[at + 7])
    if how == 'done' then
      set('output', ARGV[at + 4])
      set('type', ARGV[at + 5])
      set_or_drop('error', '')
      if length ~= '0' then
        -- Nobody runs it again, so nobody needs its input.
        old[#old + 1] = 'input'
      end
    else
      set_or_drop('output', '')
      set_or_drop('type', '')
      set_or_drop('error', ARGV[at + 6])
      if how ~= 'back' then
        set('failures', (tonumber(task[6]) or 0) + 1)
      end
    end
    if how == 'done' or how == 'failed' then
      set('finished', now_text)
      conclude(id, task[3], state, task[7])
    else
      if how == 'retry' then
        local again = string.format('%.0f', now + tonumber(ARGV[at + 3]))
        set('ready', again)
        put(P .. 'wait', again, id)
      else
        -- Back to its place in the queue: it has waited since then.
        push(id, task[3], tonumber(task[4]), tonumber(task[5]) or 0)
      end
      if task[7] then
        call('SMOVE', P .. 'runs:' .. task[7], P .. 'waits:' .. task[7], id)
      end
      if task[8] then
        put(P .. 'expiry', task[8], id)
      end
    end
    call('HSET', key, unpack(fields))
    if #old > 0 then
      call('HDEL', key, unpack(old))
    end
    answer[#answer + 1] = state
  end
end
write()
return answer
