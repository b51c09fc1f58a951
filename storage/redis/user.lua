-- Puts right what follows from a user's rows, and removes rows of nodes that are gone.
-- KEYS: 1 rows of the user, 2 state of the user, 3 projects of the user, 4 revision, 5 nodes
-- ARGV: 1 user; 2 what the names of online sets begin with; 3 of leases
-- Returns how many rows, members and states it repaired.
local rows, gone = {}, {}
local rowsfixed, setsfixed, statesfixed = 0, 0, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local f = all[i]
  local node = string.match(f, '^([^|]*)|') -- nil: when the projects were learned
  if node and gone[node] == nil then
    gone[node] = redis.call('SISMEMBER', KEYS[5], node) == 0 and redis.call('EXISTS', ARGV[3] .. node) == 0
  end
  if not node then
    -- nobody's
  elseif gone[node] then
    redis.call('HDEL', KEYS[1], f)
    rowsfixed = rowsfixed + 1
  else
    rows[f] = all[i + 1]
  end
end
local state = aggregate(rows)
for _, p in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local call = state > 0 and 'SADD' or 'SREM'
  setsfixed = setsfixed + redis.call(call, ARGV[2] .. p, ARGV[1])
end
if next(rows) == nil then redis.call('DEL', KEYS[1], KEYS[3]) end
if (redis.call('GET', KEYS[2]) or '0') ~= tostring(state) then
  redis.call('SET', KEYS[2], state)
  redis.call('INCR', KEYS[4])
  statesfixed = 1
end
return {rowsfixed, setsfixed, statesfixed}
