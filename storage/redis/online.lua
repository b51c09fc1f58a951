-- Reads a project's online set.
-- KEYS: 1 fence, 2 online set, 3 revision
-- ARGV: 1 fence; 2 what the names of states begin with
-- Returns {1, revision, user, state, ...}, or {-1} when the fence is another.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return {-1} end
local answer = {1, tonumber(redis.call('GET', KEYS[3]) or '0')}
local users = redis.call('SMEMBERS', KEYS[2])
for first = 1, #users, 1000 do
  local keys = {}
  for i = first, math.min(first + 999, #users) do keys[#keys + 1] = ARGV[2] .. users[i] end
  for i, state in ipairs(redis.call('MGET', unpack(keys))) do
    answer[#answer + 1] = users[first + i - 1]
    answer[#answer + 1] = state or '0'
  end
end
return answer
