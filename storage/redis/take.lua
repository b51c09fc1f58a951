-- Gives a process its node's lease.
-- KEYS: 1 lease, 2 last epoch, 3 nodes, 4 sentinel
-- ARGV: 1 node, 2 now in microseconds, 3 lease in ms, 4 how long the last epoch is kept
--       in ms, 5 a new sentinel, 6 the lease that may be taken over, "" for none
-- Returns {epoch, sentinel}, or {the lease that stands in the way}.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[6] then return {held} end
local epoch = tonumber(ARGV[2])
for _, last in ipairs({held or '0', redis.call('GET', KEYS[2]) or '0'}) do
  epoch = math.max(epoch, (tonumber(last) or 0) + 1)
end
epoch = string.format('%.0f', epoch)
redis.call('SET', KEYS[1], epoch, 'PX', ARGV[3])
redis.call('SET', KEYS[2], epoch, 'PX', ARGV[4])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('SET', KEYS[4], ARGV[5], 'NX')
return {epoch, redis.call('GET', KEYS[4])}
