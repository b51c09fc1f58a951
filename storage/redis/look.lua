-- Renews the own lease, unless a later process has it, and reads everybody's.
-- KEYS: 1 own lease, 2 own last epoch, 3 nodes, 4 sentinel
-- ARGV: 1 node, 2 epoch, 3 lease in ms, 4 how long the last epoch is kept in ms, 5 a new
--       sentinel; 6 to 8 what leases, last epochs and channels begin with; then nodes to
--       look at beside those in the set
-- Returns the sentinel, the own lease as it was, and of each node its name, lease, last
-- epoch, listeners, and whether the set has it.
local held = redis.call('GET', KEYS[1])
if not held or (tonumber(held) or 0) <= tonumber(ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
  redis.call('SADD', KEYS[3], ARGV[1])
end
redis.call('SET', KEYS[4], ARGV[5], 'NX')
local reply = {redis.call('GET', KEYS[4]), held or ''}
local seen = {}
local function add(...)
  for _, v in ipairs({...}) do reply[#reply + 1] = v end
end
local function look(node, member)
  if seen[node] then return end
  seen[node] = true
  local lease, last = redis.call('GET', ARGV[6] .. node), redis.call('GET', ARGV[7] .. node)
  local listeners = redis.call('PUBSUB', 'NUMSUB', ARGV[8] .. node)[2]
  add(node, lease or '', last or '', tostring(listeners), member)
end
for _, node in ipairs(redis.call('SMEMBERS', KEYS[3])) do look(node, '1') end
for i = 9, #ARGV do look(ARGV[i], '0') end
return reply
