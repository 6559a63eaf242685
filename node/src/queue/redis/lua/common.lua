-- Stands before every script. All keys of a mesh begin with KEYS[1], which holds the hash tag of Redis Cluster:
-- they live in one slot, so that a script may touch any of them. What each key holds is said in `keys.rs`.
--
-- A script is one atomic step, but Redis takes nothing back when one fails in the middle. So whatever may be
-- somebody else's value is read before anything is written.
local P = KEYS[1]
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- As text: whatever hands a number to the server has it printed with all the digits of a double, each time anew.
local now_text = string.format('%.0f', now)

-- A server whose memory is full refuses a script's first write if that may need more, and no later one. What is begun
-- and ended makes room, and so does a schedule that is paused: so these scripts begin with a write that needs none. What
-- brings new tasks is refused before it has written anything.
local function in_any_case()
  call('ZREM', P .. 'aside', '')
end
