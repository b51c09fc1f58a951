-- Makes what a node says of one of its users true: its rows, and all that follows
-- from them. Run twice it changes nothing.
-- KEYS: 1 fence, 2 rows of the user, 3 state of the user, 4 projects of the user,
--       5 users of the node, 6 revision, 7 projects of the node
-- ARGV: 1 fence, "" when there must be none; 2 node; 3 user; 4 and 5 what the names of
--       online sets and of node sets begin with; 6 the least revision;
--       7 letters: l the list counts, f Redis may know older things, n nodes are asked for;
--       8 when the node learned the user's projects; then lists, each after its length:
--       rows as field and value, the user's projects, projects joined, projects left,
--       projects the node begins and ceases to be in
-- Returns {1, old, new, revision, repaired rows, members and states, nodes...}, or {-1}
-- when the fence is another.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return {-1} end
local node, user, online, nodesof = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local listed = string.find(ARGV[7], 'l', 1, true)
local fresh = string.find(ARGV[7], 'f', 1, true)
local learned = tonumber(ARGV[8])
local at = 9
local function list()
  local n, l = tonumber(ARGV[at]), {}
  for i = 1, n do l[i] = ARGV[at + i] end
  at = at + n + 1
  return l
end
local given, projects, joined, left, on, off = list(), list(), list(), list(), list(), list()

local rows, keep, mine = {}, {}, node .. '|'
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do rows[all[i]] = all[i + 1] end
local known = tonumber(rows.projects or '0') -- when what is recorded was learned
rows.projects = nil
for i = 1, #given, 2 do keep[given[i]] = given[i + 1] end
local old = aggregate(rows)
local had, rowsfixed = false, 0
for f in pairs(rows) do
  if string.sub(f, 1, #mine) == mine then
    had = true
    if not keep[f] then
      redis.call('HDEL', KEYS[2], f)
      rows[f] = nil
      rowsfixed = rowsfixed + 1
    end
  end
end
for f, v in pairs(keep) do
  if rows[f] ~= v then
    redis.call('HSET', KEYS[2], f, v)
    rows[f] = v
    rowsfixed = rowsfixed + 1
  end
end
local new = aggregate(rows)
if #given > 0 then
  if fresh or not had then redis.call('SADD', KEYS[5], user) end
elseif fresh or had then
  redis.call('SREM', KEYS[5], user)
end

-- The projects of a connected user are named when the user comes online, and changed by
-- joins and leaves alone from then on. Where that may have been missed, what was learned
-- last counts, whichever node learned it.
local before, member = {}, {}
for _, p in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  before[p] = true
  member[p] = true
end
if next(rows) == nil then
  member = {}
  redis.call('DEL', KEYS[2])
else
  local taken = listed and (fresh and learned >= known or not fresh and old == 0)
  if taken then
    member = {}
    for _, p in ipairs(projects) do member[p] = true end
  end
  for _, p in ipairs(joined) do member[p] = true end
  for _, p in ipairs(left) do member[p] = nil end
  if learned > known and (taken or #joined + #left > 0) then
    redis.call('HSET', KEYS[2], 'projects', ARGV[8])
  end
end
local setsfixed = 0
for p in pairs(before) do
  if not member[p] then
    redis.call('SREM', KEYS[4], p)
    redis.call('SREM', online .. p, user)
    if fresh then setsfixed = setsfixed + 1 end
  end
end
for p in pairs(member) do
  if not before[p] then
    redis.call('SADD', KEYS[4], p)
    if fresh then setsfixed = setsfixed + 1 end
  end
  if new > 0 and (fresh or old == 0 or not before[p]) then
    local n = redis.call('SADD', online .. p, user)
    if old > 0 and before[p] then setsfixed = setsfixed + n end
  elseif new == 0 and (fresh or old > 0) then
    local n = redis.call('SREM', online .. p, user)
    if old == 0 then setsfixed = setsfixed + n end
  end
end

local said = redis.call('GET', KEYS[3]) or '0'
local statesfixed = said ~= tostring(old) and 1 or 0
if said ~= tostring(new) then redis.call('SET', KEYS[3], new) end

for _, p in ipairs(on) do
  redis.call('SADD', nodesof .. p, node)
  redis.call('SADD', KEYS[7], p)
end
for _, p in ipairs(off) do
  redis.call('SREM', nodesof .. p, node)
  redis.call('SREM', KEYS[7], p)
end

local rev, least = tonumber(redis.call('GET', KEYS[6]) or '0'), tonumber(ARGV[6])
local now = math.max(rev, least)
if old ~= new then now = now + 1 end
if now ~= rev then redis.call('SET', KEYS[6], string.format('%.0f', now)) end

local answer = {1, old, new, now, rowsfixed, setsfixed, statesfixed}
if string.find(ARGV[7], 'n', 1, true) then
  for p in pairs(member) do before[p] = true end
  local sets, seen = {}, {[node] = true}
  for p in pairs(before) do sets[#sets + 1] = nodesof .. p end
  for first = 1, #sets, 1000 do
    for _, n in ipairs(redis.call('SUNION', unpack(sets, first, math.min(first + 999, #sets)))) do
      if not seen[n] then
        seen[n] = true
        answer[#answer + 1] = n
      end
    end
  end
end
return answer
