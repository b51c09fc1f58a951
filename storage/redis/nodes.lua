-- Removes from a project's nodes those that are gone or have no users of it.
-- KEYS: 1 nodes of the project, 2 nodes
-- ARGV: 1 project; 2 what the names of leases begin with; 3 of nodes' projects
-- Returns how many it removed.
local removed = 0
for _, n in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local gone = redis.call('SISMEMBER', KEYS[2], n) == 0 and redis.call('EXISTS', ARGV[2] .. n) == 0
  if gone or redis.call('SISMEMBER', ARGV[3] .. n, ARGV[1]) == 0 then
    removed = removed + redis.call('SREM', KEYS[1], n)
  end
end
return {removed}
