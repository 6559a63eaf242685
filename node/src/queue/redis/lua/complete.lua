-- Records how attempts ended, each once and only for the current attempt.
-- ARGV: of each its task's id, attempt, how it ended (done, failed, retry, back), pause before the retry in ms,
-- output, its media type, error, log tail. Answers the state of each afterwards, 'stale' for those that changed
-- nothing.
local answer = {}
for at = 1, #ARGV, 8 do
  local id, attempt, how, pause = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local key = P .. 'task:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'attempt', 'def', 'ready', 'lost', 'failures', 'schedule', 'expires')
  local held = not task.err and task[3]
    and task[1] == 'leased' and task[2] == attempt --guard attempt_token
  if not held then
    answer[#answer + 1] = 'stale'
  else
    call('ZREM', P .. 'leases', id)
    local fields, drop = {}, { 'error', 'output', 'type', 'log' }
    local function set(name, value)
      fields[#fields + 1] = name
      fields[#fields + 1] = value
      for n, other in ipairs(drop) do
        if other == name then
          table.remove(drop, n)
        end
      end
    end
    if ARGV[at + 7] ~= '' then
      set('log', ARGV[at + 7])
    end
    local state = how
    if how == 'done' then
      set('output', ARGV[at + 4])
      set('type', ARGV[at + 5])
      -- Nobody runs it again, so nobody needs its input.
      drop[#drop + 1] = 'input'
    elseif how ~= 'back' then
      set('error', ARGV[at + 6])
      set('failures', (tonumber(task[6]) or 0) + 1)
    end
    if how == 'retry' then
      moved(id, task[3], 'leased', 'retry')
      set('state', 'retry')
      set('ready', now + pause)
      call('ZADD', P .. 'wait', now + pause, id)
    elseif how == 'back' then
      -- Back to its place in the queue: it has waited since then.
      state = 'ready'
      moved(id, task[3], 'leased', 'ready')
      set('state', 'ready')
      push(id, task[3], tonumber(task[4]), tonumber(task[5]) or 0)
    end
    if #fields > 0 then
      call('HSET', key, unpack(fields))
    end
    -- Only a task that has ended before, or brings an input, has something to lose.
    if attempt ~= '1' or how == 'done' then
      call('HDEL', key, unpack(drop))
    end
    if how == 'done' or how == 'failed' then
      finish(id, task[3], 'leased', how, task[7])
    else
      if task[7] then
        call('SMOVE', P .. 'runs:' .. task[7], P .. 'waits:' .. task[7], id)
      end
      if task[8] then
        call('ZADD', P .. 'expiry', task[8], id)
      end
    end
    answer[#answer + 1] = state
  end
end
write_counts()
return answer
