-- Makes a new fence: what was sent under an older one is refused from now on, however
-- late it arrives.
-- KEYS: 1 fence, 2 revision
-- ARGV: 1 process; 2 number of the fence; 3 the least revision; 4 a first revision
-- Returns {1, whether the last fence was this process's, revision}, or {-1} when this
-- command is itself late.
local was = redis.call('GET', KEYS[1]) or ''
local process, n = string.match(was, '^(.*)%.(%d+)$')
local own = process == ARGV[1]
if own and tonumber(n) >= tonumber(ARGV[2]) then return {-1} end
redis.call('SET', KEYS[1], ARGV[1] .. '.' .. ARGV[2])
local rev = redis.call('GET', KEYS[2])
local now = math.max(tonumber(rev or ARGV[4]), tonumber(ARGV[3]))
if tonumber(rev or '-1') ~= now then redis.call('SET', KEYS[2], string.format('%.0f', now)) end
return {1, own and 1 or 0, now}
