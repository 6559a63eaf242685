-- Writes where a schedule stands after an edit, if it stands where the caller believes, and the ledger's line of what
-- the edit gives up.
-- ARGV: schedule, the standing that is expected or '', the new standing, due time of the line or '', the line.
-- Answers 1, or 0 and where it stands.
in_any_case()
local standing = call('HGET', P .. 'schedules', ARGV[1])
if (standing or '') ~= ARGV[2] then
  return { 0, standing }
end
if ARGV[4] ~= '' then
  call('ZADD', P .. 'ticks:' .. ARGV[1], ARGV[4], ARGV[5])
  call('ZADD', P .. 'lines', now, ARGV[1] .. ' ' .. ARGV[4])
end
call('HSET', P .. 'schedules', ARGV[1], ARGV[3])
return { 1 }
