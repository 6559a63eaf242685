-- How long until a claimant may claim something, in ms; -1 when nothing waits for it.
-- ARGV: the claimant.
local who = claimant(1)

-- Tasks looked at under each pair of queue and function, and of those whose time has not come.
local MOST_LOOKED_AT = 256

promote()

local function takes(lost)
  return who.takes_suspect or lost < who.suspect_from
end

-- Whether a key holds a task that can be claimed now.
local function holds(from, is_again)
  for _ = 1, MOST_LOOKED_AT do
    local member = head(from)
    if not member then
      return false
    end
    if not is_again or takes(tonumber(string.sub(member, 52), 16)) then
      local task = task_of(read_head(from))
      if not task or task[EXPIRES] == '-' or tonumber(task[EXPIRES]) > now then
        return true
      end
    end
    from.pos = from.pos + 1
  end
  -- Nobody knows; a claim will find out.
  return true
end

local found = pairs_of(who.queues, '', 4096)
for _, name in ipairs(found) do
  local queue, fn = string.match(name, '^(%S+) (%S+)$')
  if who.room[fn] ~= 0 and who.left[queue] ~= 0 then
    local pair = pair_of(queue, fn)
    if holds(source(pair.ready, pair), false) or holds(source(pair.again, pair), true) then
      return 0
    end
  end
end

return next_waiting(who)
