-- Decides due times of schedules: the one step on which "never twice" rests. Each commit is judged by itself.
-- ARGV: of each commit how many arguments it has, then schedule, revision, expected cursor, node, overlap policy, how
-- many ms early a due time may be, then of each decision its due time, the first one of a run, the count, the reason of
-- a skip or '', and for a firing the task's id, def and input.
-- Answers of each 'moved' and where the schedule stands, or 'early' and the clock, or 'ok' and the ids that were
-- enqueued, or 'broken' and what stood in the way.
local function decide(first, last)
  local schedule, revision, expected, node, overlap = ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3], ARGV[first + 4]
  local standing = call('HGET', P .. 'schedules', schedule)
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

  local waits, runs = P .. 'waits:' .. schedule, P .. 'runs:' .. schedule
  local function overlaps()
    if overlap == 'skip' then
      return call('SCARD', waits) + call('SCARD', runs) > 0
    end
    return overlap == 'queue_one' and call('SCARD', waits) > 0
  end

  local answer = { 'ok' }
  for at = first + 6, last, 7 do
    local due, from, count, skipped = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local task = '-'
    if skipped == '' then
      if overlaps() then
        skipped = 'overlap'
      else
        task = ARGV[at + 4]
        add(task, ARGV[at + 5], 0, -1, schedule, ARGV[at + 6])
        answer[#answer + 1] = task
      end
    end
    local line = { due, from, count, revision, skipped == '' and '-' or skipped, task, now_text, node }
    call('ZADD', P .. 'ticks:' .. schedule, due, table.concat(line, ' '))
    put(P .. 'lines', now_text, schedule .. ' ' .. due)
  end
  call('HSET', P .. 'schedules', schedule, known .. ' ' .. enabled .. ' ' .. latest .. ' ' .. times)
  return answer
end

local answers, at = {}, 1
while at <= #ARGV do
  local first = at + 1
  at = first + tonumber(ARGV[at])
  local is_done, answer = pcall(decide, first, at - 1)
  if not is_done then
    local why = type(answer) == 'table' and answer.err or tostring(answer)
    if not string.find(why, 'WRONGTYPE', 1, true) then
      -- The server itself refuses.
      error(answer, 0)
    end
    -- A value of one schedule that is not ours must not keep the others from firing.
    answer = { 'broken', why }
  end
  answers[#answers + 1] = answer
end
write()
return answers
