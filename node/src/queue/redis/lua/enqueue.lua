-- Stores tasks, group by group, each all or none.
-- ARGV: of each group how many tasks it holds, then of each its id, def, delay in ms, expiry in ms from now or -1,
-- schedule or '', input.
-- Answers of each group the ids under which other tasks are there; then nothing of it was stored.
local WIDTH = 6
local groups, ids, at = {}, {}, 1
while at <= #ARGV do
  local group = { first = at + 1, last = at + WIDTH * tonumber(ARGV[at]) }
  groups[#groups + 1] = group
  for n = group.first, group.last, WIDTH do
    ids[#ids + 1] = ARGV[n]
  end
  at = group.last + 1
end
load(ids)

local answer = {}
for _, group in ipairs(groups) do
  local taken = {}
  for n = group.first, group.last, WIDTH do
    if is_taken(ARGV[n], ARGV[n + 1]) then
      taken[#taken + 1] = ARGV[n]
    end
  end
  if #taken == 0 then
    for n = group.first, group.last, WIDTH do
      add(ARGV[n], ARGV[n + 1], tonumber(ARGV[n + 2]), tonumber(ARGV[n + 3]), ARGV[n + 4], ARGV[n + 5])
    end
  end
  answer[#answer + 1] = taken
end
write()
return answer
