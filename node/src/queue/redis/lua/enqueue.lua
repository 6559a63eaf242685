-- Stores tasks, all or none.
-- ARGV: of each task its id, def, delay in ms, expiry in ms from now or -1, schedule or '', input.
for at = 1, #ARGV, 6 do
  add(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5])
end
return now
