-- Gives the lease back, if it is this process's.
-- KEYS: 1 lease, 2 nodes
-- ARGV: 1 node, 2 epoch
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
return redis.call('SREM', KEYS[2], ARGV[1])
