-- Forgets a node whose rows are gone, unless it is back.
-- KEYS: 1 lease, 2 nodes, 3 last epoch
-- ARGV: 1 node, 2 its last epoch
if redis.call('EXISTS', KEYS[1]) == 1 or (redis.call('GET', KEYS[3]) or ARGV[2]) ~= ARGV[2] then return 0 end
return redis.call('SREM', KEYS[2], ARGV[1])
