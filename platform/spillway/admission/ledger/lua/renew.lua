-- Lengthen the leases of what is being served, and note what it has used: a reap gives back only the rest.
--
--   ARGV from 3: request, used tokens, request, used tokens, ...
--   returns: the requests that are not held here (any more)

local ids, lost, noted, leased = {}, {}, {}, {}
for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local records = redis.call('HMGET', CLAIMS, unpack(ids))
local latest = digits(NOW + LEASE)
for i = 1, #ids do
  local reserved, accounts_of = string.match(records[i] or '', '^(%S+) %S+( .+)$')
  if reserved then
    noted[#noted + 1] = ids[i]
    noted[#noted + 1] = reserved .. ' ' .. ARGV[2 * i + 2] .. accounts_of
    leased[#leased + 1] = latest
    leased[#leased + 1] = ids[i]
  else
    lost[#lost + 1] = ids[i]
  end
end
if #noted > 0 then
  redis.call('HSET', CLAIMS, unpack(noted))
  redis.call('ZADD', LEASES, 'XX', unpack(leased))
  for i = 1, 3 do
    if redis.call('PTTL', KEYS[i]) < DAY then redis.call('PEXPIRE', KEYS[i], 2 * DAY) end
  end
end
return lost
