-- Decides due times of schedules: the one step on which "never twice" rests. Each commit is judged by itself.
-- ARGV: of each commit how many arguments it has, then schedule, revision, expected cursor, node, overlap policy, how
-- many ms early a due time may be, then of each decision its due time, the first one of a run, the count, the reason of
-- a skip or '', and for a firing the task's id, def and input.
-- Answers of each 'moved' and where the schedule stands, or 'early' and the clock, or 'ok' and the ids that were
-- enqueued, or 'broken' and what stood in the way.
local OF_COMMIT, OF_DECISION = 6, 7

local commits, names, tasks, at = {}, {}, {}, 1
while at <= #ARGV do
  local commit = { first = at + 1, last = at + tonumber(ARGV[at]) }
  commits[#commits + 1] = commit
  names[#names + 1] = ARGV[commit.first]
  for decision = commit.first + OF_COMMIT, commit.last, OF_DECISION do
    if ARGV[decision + 3] == '' then
      tasks[#tasks + 1] = ARGV[decision + 4]
    end
  end
  at = commit.last + 1
end
-- Where schedules stand, and where those stand now that have moved.
local standings, moves = {}, {}
for first = 1, #names, AT_ONCE do
  local last = math.min(first + AT_ONCE - 1, #names)
  for n, standing in ipairs(call('HMGET', P .. 'schedules', unpack(names, first, last))) do
    standings[names[first + n - 1]] = standing
  end
end
load(tasks)

local function decide(first, last)
  local schedule, revision, expected, node, overlap = ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3], ARGV[first + 4]
  local standing = standings[schedule]
  if not standing then
    return { 'moved', false }
  end
  local known, enabled, cursor, times = string.match(standing, '^(%d+) ([012]) (%-?%d+) (.*)$')
  local current = true
  if known ~= revision then current = false end --guard revision_compare
  if enabled ~= '1' then current = false end --guard enabled_check
  if cursor ~= expected then current = false end --guard cursor_compare
  if not current then
    return { 'moved', standing }
  end
  local latest = ARGV[last - 6]
  if tonumber(latest) - now > tonumber(ARGV[first + 5]) then return { 'early', now } end --guard store_clock

  local waits, runs, ticks = P .. 'waits:' .. schedule, P .. 'runs:' .. schedule, P .. 'ticks:' .. schedule
  -- Also to find what is of another kind before anything is written.
  local waiting, running = call('SCARD', waits), call('SCARD', runs)
  call('ZCARD', ticks)

  local answer = { 'ok' }
  for at = first + OF_COMMIT, last, OF_DECISION do
    local due, from, count, skipped = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local task = '-'
    if skipped == '' then
      if (overlap == 'skip' and waiting + running > 0) or (overlap == 'queue_one' and waiting > 0) then
        skipped = 'overlap'
      else
        task = ARGV[at + 4]
        if add(task, ARGV[at + 5], 0, -1, schedule, ARGV[at + 6]) then
          waiting = waiting + 1
        end
        answer[#answer + 1] = task
      end
    end
    local line = { due, from, count, revision, skipped == '' and '-' or skipped, task, now_text, node }
    put(ticks, due, table.concat(line, ' '))
    put(P .. 'lines', now_text, schedule .. ' ' .. due)
  end
  standings[schedule] = known .. ' ' .. enabled .. ' ' .. latest .. ' ' .. times
  moves[#moves + 1] = schedule
  moves[#moves + 1] = standings[schedule]
  return answer
end

local answers = {}
for n, commit in ipairs(commits) do
  local is_done, answer = pcall(decide, commit.first, commit.last)
  if not is_done then
    local why = type(answer) == 'table' and answer.err or tostring(answer)
    if not string.find(why, 'WRONGTYPE', 1, true) then
      -- The server itself refuses.
      error(answer, 0)
    end
    -- A value of one schedule that is not ours must not keep the others from firing.
    answer = { 'broken', why }
  end
  answers[n] = answer
end
in_pieces('HSET', P .. 'schedules', moves)
write()
return answers
