-- End claims with what they really used. What is not held here (any more) stays as it is.
--
--   ARGV from 3: request, actual tokens, how, ...
--   how: "" as it is; "r": it is not to count as a request either; "t": if it is not known, it must not be charged by an
--   acquire that is still under way, so a claim on no account stands in its place for the length of a lease; "rt": both
--   returns: how many were held here

local late, settled = {}, 0
for i = 3, #ARGV, 3 do
  local id, actual, how = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local record = not is_ended[id] and redis.call('HGET', CLAIMS, id)
  if record and string.match(record, '^%S+ %S+ ') then
    finish(id, record, actual, string.find(how, 'r', 1, true) ~= nil)
    settled = settled + 1
  elseif not record and string.find(how, 't', 1, true) then
    late[#late + 1] = id
  end
end
save()
for i = 1, #late do
  redis.call('HSET', CLAIMS, late[i], '0 0')
  redis.call('ZADD', LEASES, digits(NOW + LEASE), late[i])
end
if #late > 0 then
  for i = 2, 3 do redis.call('PEXPIRE', KEYS[i], 2 * DAY) end
end
return settled
