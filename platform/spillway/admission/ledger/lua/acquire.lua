-- Reserve all that a claim wants on all of its accounts, or nothing. Asking again for the same request changes nothing.
--
--   ARGV 3 request  4 tokens  5 "1": without looking at the limits, for what is being served already
--   then for each scope: account, requests per minute, burst, tokens per minute, concurrent, tokens per day (-1: no
--   limit), and what the durable store says was used today
--   returns: why not ("": granted), number of the scope, its limit, what it would have come to, wait in ms ("": not
--   known, or never), then each scope's levels of requests and tokens

local id, cost, forced = ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'

reap()
if redis.call('ZCARD', LEASES) - #ended <= 0 then
  -- Nobody holds anything: whatever else became of the keys, a count that is wrong ends here.
  for i = 6, #ARGV, 7 do
    local a = account(ARGV[i])
    a.held, a.leases = 0, 0
  end
end

local again = not is_ended[id] and redis.call('HEXISTS', CLAIMS, id) == 1

local refusal = { '', '', '', '', '' }
local worst = -1
local function refuse(rank, name, scope, limit, measured)
  if rank <= worst then return end
  worst = rank
  local known = rank > 0 and rank < math.huge
  refusal = { name, digits(scope), digits(limit), digits(measured), known and digits(rank) or '' }
end

local function examine(a, scope, burst, concurrent, per_day)
  if a.rpm == 0 then refuse(math.huge, 'requests_per_minute', scope, 0, 1) end
  local excess = a.requests + 1 - burst
  if a.rpm > 0 and excess > EPSILON then
    refuse(excess * MINUTE / a.rpm, 'requests_per_minute', scope, a.rpm, a.rpm + math.ceil(excess - EPSILON))
  end
  if a.tpm >= 0 and cost > a.tpm then
    refuse(math.huge, 'request_tokens', scope, a.tpm, cost)
  elseif a.tpm >= 0 and a.tokens + cost > a.tpm + EPSILON then
    local measured = math.ceil(a.tokens + cost - EPSILON)
    refuse((a.tokens + cost - a.tpm) * MINUTE / a.tpm, 'tokens_per_minute', scope, a.tpm, measured)
  end
  if concurrent >= 0 and a.leases + 1 > concurrent then
    refuse(0, 'max_concurrent', scope, concurrent, a.leases + 1)
  end
  if per_day >= 0 and cost > per_day then
    refuse(math.huge, 'tokens_per_day', scope, per_day, cost)
  elseif per_day >= 0 and a.used + a.held + cost > per_day then
    refuse((a.day + 1) * DAY - NOW, 'tokens_per_day', scope, per_day, a.used + a.held + cost)
  end
end

local names = {}
for i = 6, #ARGV, 7 do
  local name = ARGV[i]
  local a = account(name)
  names[#names + 1] = name
  a.rpm, a.tpm = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
  if a.rpm < 0 then a.requests = 0 end
  if a.tpm < 0 then a.tokens = 0 end
  a.used = math.max(a.used, tonumber(ARGV[i + 6]))
  if not again and not forced then
    examine(a, #names, tonumber(ARGV[i + 2]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]))
  end
end

local granted = refusal[1] == ''
if granted and not again then
  for i = 1, #names do
    local a = accounts[names[i]]
    if not forced then a.requests = a.rpm >= 0 and a.requests + 1 or 0 end
    if a.tpm >= 0 then a.tokens = math.min(2 * a.tpm, a.tokens + cost) end
    a.held = a.held + cost
    a.leases = a.leases + 1
    changed[names[i]] = true
  end
end
save()
if granted and not again then
  redis.call('HSET', CLAIMS, id, digits(cost) .. ' 0 ' .. table.concat(names, ' '))
end
if granted then redis.call('ZADD', LEASES, digits(NOW + LEASE), id) end
if granted and not again then
  for i = 2, 3 do redis.call('PEXPIRE', KEYS[i], 2 * DAY) end
end
for i = 1, #names do
  local a = accounts[names[i]]
  refusal[#refusal + 1] = digits(a.requests)
  refusal[#refusal + 1] = digits(a.tokens)
end
return refusal
