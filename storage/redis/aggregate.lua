-- The state of the visible connection of the highest priority, the latest of equals.
local function aggregate(rows)
  local best, prio, time, seq, name = 0, 0, 0, 0, ''
  for f, v in pairs(rows) do
    local c, p, t, s = string.match(v, '^([123])|(%-?%d+)|(%d+)%.(%d+)|')
    if c then
      c, p, t, s = tonumber(c), tonumber(p), tonumber(t), tonumber(s)
      local later = t > time or t == time and (s > seq or s == seq and f > name)
      if best == 0 or p > prio or p == prio and later then best, prio, time, seq, name = c, p, t, s, f end
    end
  end
  return best
end
