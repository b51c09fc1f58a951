-- Begins, or with "drop" ends, the removal of what a dead node left.
-- KEYS: 1 fence, 2 lease, 3 users of the node, 4 projects of the node
-- ARGV: 1 "drop"; or "dead" (there must be no lease), "any", or the process whose fence
--       it must be
-- Returns 1, or 0 when the node lives.
if ARGV[1] == 'drop' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('DEL', KEYS[3], KEYS[4])
  return 1
end
if ARGV[1] == 'dead' then
  if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
elseif ARGV[1] ~= 'any' then
  local fence = redis.call('GET', KEYS[1]) or ''
  if string.sub(fence, 1, #ARGV[1] + 1) ~= ARGV[1] .. '.' then return 0 end
end
redis.call('DEL', KEYS[1])
return 1
