-- How many tasks there are, for people.
-- Answers the hash `counts`, then of each queue and function with ready tasks: the pair, and since when the first of
-- them in the order of claims waits; then how many entries were set aside.
local oldest = {}
for _, pair in ipairs(call('ZRANGE', P .. 'ready', 0, 4095)) do
  local queue, fn = string.match(pair, '^(%S+) (%S+)$')
  for _, kind in ipairs({ 'ready:', 'again:' }) do
    local first = call('ZRANGE', P .. kind .. queue .. ':' .. fn, 0, 0)[1]
    if first then
      oldest[#oldest + 1] = queue
      oldest[#oldest + 1] = tonumber(string.sub(first, 5, 15), 16)
    end
  end
end
return { call('HGETALL', P .. 'counts'), oldest, call('ZCARD', P .. 'aside') }
