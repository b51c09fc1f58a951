-- Says of projects whether users of theirs are connected to a node.
-- KEYS: 1 fence, 2 projects of the node
-- ARGV: 1 fence, "" when there must be none; 2 node; 3 what the names of node sets begin
--       with; 4 how many of the projects that follow have users there; the others have not
-- Returns {1, changed}, or {-1} when the fence is another.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return {-1} end
local changed = 0
for i = 5, #ARGV do
  local call = i - 4 <= tonumber(ARGV[4]) and 'SADD' or 'SREM'
  local a = redis.call(call, ARGV[3] .. ARGV[i], ARGV[2])
  local b = redis.call(call, KEYS[2], ARGV[i])
  changed = changed + math.max(a, b)
end
return {1, changed}
