-- Removes from a project's online set whoever is not online in that project.
-- KEYS: 1 online set
-- ARGV: 1 project; 2 what the names of rows begin with; 3 of users' projects; then users
-- Returns how many it removed.
local removed = 0
for i = 4, #ARGV do
  local rows, user = {}, ARGV[i]
  local all = redis.call('HGETALL', ARGV[2] .. user)
  for k = 1, #all, 2 do rows[all[k]] = all[k + 1] end
  if aggregate(rows) == 0 or redis.call('SISMEMBER', ARGV[3] .. user, ARGV[1]) == 0 then
    removed = removed + redis.call('SREM', KEYS[1], user)
  end
end
return {removed}
