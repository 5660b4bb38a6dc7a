-- The first part of every script: what is kept of a tenant, read once, changed in memory, written once.
--
--   KEYS[1] quota   HASH  account -> packed state     `acme`, `acme/chat`: one account for each set of limits
--   KEYS[2] leases  ZSET  request -> when its lease ends
--   KEYS[3] claims  HASH  request -> "reserved used account account ..."
--   ARGV[1] the time in ms, from tests alone; empty: this server's clock. ARGV[2] the length of a lease in ms.
--
-- All keys have the tag {tenant}: one slot. Times are ms. Numbers are written with 17 digits, so that none is changed
-- by being written and read; they are returned as text, because a number would be cut to an integer.
--
-- Requests and tokens are levels that drain: 0 is an idle account. For requests that is GCRA, told as
-- (theoretical arrival - now) / period; a level is small where an arrival time has 13 digits, and a clock that is set
-- back leaves it as it is. A level of tokens above the limit is a debt.

local QUOTA, LEASES, CLAIMS = KEYS[1], KEYS[2], KEYS[3]
local LEASE = tonumber(ARGV[2])
local DAY, MINUTE = 86400000, 60000
local EPSILON = 1e-6 -- of a request or token: who waits as long as was said is let in
local REAPED_AT_ONCE = 1024
local LEVELS = { 'requests', 'tokens', 'at', 'day', 'used', 'held', 'leases', 'rpm', 'tpm' }

local function digits(number)
  return string.format('%.17g', number)
end

local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
end

local NOW = clock()
local accounts, changed, ended, is_ended = {}, {}, {}, {}

local function drained(level, limit, elapsed)
  if limit < 0 then return 0 end -- no limit
  return math.max(0, level - elapsed * limit / MINUTE)
end

-- Return an account as it is now. `rpm` and `tpm` are the limits it was asked with last, -1: none.
local function account(name)
  local a = accounts[name]
  if a then return a end
  a = { requests = 0, tokens = 0, at = NOW, day = math.floor(NOW / DAY), used = 0, held = 0, leases = 0,
        rpm = -1, tpm = -1 }
  local packed = redis.call('HGET', QUOTA, name)
  if packed then
    local i = 1
    for word in string.gmatch(packed, '%S+') do
      a[LEVELS[i]] = tonumber(word)
      i = i + 1
    end
    if a.at > NOW then changed[name] = true end -- the clock was set back: from now on it counts from here
    local elapsed = math.max(0, NOW - a.at)
    a.requests = drained(a.requests, a.rpm, elapsed)
    a.tokens = drained(a.tokens, a.tpm, elapsed)
    a.at = NOW
    -- A clock that goes back over midnight by a little must not give a second budget.
    local today = math.floor(NOW / DAY)
    if a.day ~= today and a.day ~= today + 1 then a.day, a.used = today, 0 end
  end
  accounts[name] = a
  return a
end

-- Take a claim off the accounts that it is on. What was reserved and not used goes back; what was used beyond is owed.
local function finish(id, record, actual, refund_request)
  local words = string.gmatch(record, '%S+')
  local reserved, used = tonumber(words()), tonumber(words())
  if actual < 0 then actual = used end
  for name in words do
    local a = account(name)
    if a.tpm >= 0 then a.tokens = math.min(2 * a.tpm, math.max(0, a.tokens - reserved + actual)) end
    if refund_request then a.requests = math.max(0, a.requests - 1) end
    a.used = a.used + actual
    a.held = math.max(0, a.held - reserved)
    a.leases = math.max(0, a.leases - 1)
    changed[name] = true
  end
  ended[#ended + 1] = id
  is_ended[id] = true
end

-- End the claims whose lease is over: their gateway is gone. What they used, as far as it was told, stays charged.
local function reap()
  -- Leases cannot be longer than one: where they are, the clock was set back.
  local latest = digits(NOW + LEASE)
  local far = redis.call('ZRANGEBYSCORE', LEASES, '(' .. digits(NOW + LEASE + 1), '+inf', 'LIMIT', 0, REAPED_AT_ONCE)
  for i = 1, #far do redis.call('ZADD', LEASES, 'XX', latest, far[i]) end
  local dead = redis.call('ZRANGEBYSCORE', LEASES, '-inf', digits(NOW), 'LIMIT', 0, REAPED_AT_ONCE)
  if #dead > 0 then
    local records = redis.call('HMGET', CLAIMS, unpack(dead))
    for i = 1, #dead do finish(dead[i], records[i] or '0 0', -1, false) end
  end
  return #dead
end

-- Write what has changed. Removals come first: they succeed when memory is short, and what follows them does, too.
local function save()
  for first = 1, #ended, REAPED_AT_ONCE do
    local last = math.min(#ended, first + REAPED_AT_ONCE - 1)
    redis.call('ZREM', LEASES, unpack(ended, first, last))
    redis.call('HDEL', CLAIMS, unpack(ended, first, last))
  end
  local words, longest = {}, 2 * DAY
  for name in pairs(changed) do
    local a, packed = accounts[name], {}
    for i = 1, #LEVELS do packed[i] = digits(a[LEVELS[i]]) end
    words[#words + 1] = name
    words[#words + 1] = table.concat(packed, ' ')
    if a.rpm > 0 then longest = math.max(longest, a.requests * MINUTE / a.rpm + DAY) end
  end
  if #words > 0 then
    redis.call('HSET', QUOTA, unpack(words))
    for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], string.format('%.0f', longest)) end
  end
end
