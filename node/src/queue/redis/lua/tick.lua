-- Decides due times of one schedule: the one step on which "never twice" rests.
-- ARGV: schedule, revision, expected cursor, node, overlap policy, how many ms early a due time may be, then of each
-- decision its due time, the first one of a run, the count, the reason of a skip or '', and for a firing the task's
-- id, def and input.
-- Answers 'moved' and where the schedule stands, or 'early' and the clock, or 'ok' and the ids that were enqueued.
local schedule, revision, expected, node, overlap = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
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
local last = ARGV[#ARGV - 6]
if tonumber(last) - now > tonumber(ARGV[6]) then return { 'early', now } end --guard store_clock

local waits, runs = P .. 'waits:' .. schedule, P .. 'runs:' .. schedule
local function overlaps()
  if overlap == 'skip' then
    return call('SCARD', waits) + call('SCARD', runs) > 0
  end
  return overlap == 'queue_one' and call('SCARD', waits) > 0
end

local answer = { 'ok' }
for at = 7, #ARGV, 7 do
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
  local line = { due, from, count, revision, skipped == '' and '-' or skipped, task, string.format('%.0f', now), node }
  call('ZADD', P .. 'ticks:' .. schedule, due, table.concat(line, ' '))
  call('ZADD', P .. 'lines', now, schedule .. ' ' .. due)
end
call('HSET', P .. 'schedules', schedule, known .. ' ' .. enabled .. ' ' .. last .. ' ' .. times)
write()
return answer
