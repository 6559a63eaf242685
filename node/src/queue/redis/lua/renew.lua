-- Extends leases.
-- ARGV: lease in ms, then of each lease its task's id and attempt. Answers the ids of those that are lost.
in_any_case()
local ids, lost = {}, {}
for at = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
end
load(ids)
local till = string.format('%.0f', now + tonumber(ARGV[1]))
for at = 2, #ARGV, 2 do
  local task = task_of(ARGV[at])
  if task and task[STATE] == 'leased' and task[ATTEMPT] == ARGV[at + 1] then
    put(P .. 'leases', till, ARGV[at])
  else
    lost[#lost + 1] = ARGV[at]
  end
end
write()
return lost
