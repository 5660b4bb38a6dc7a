-- Say that a gateway lives, and count those that do.
--
--   KEYS[1] ZSET  gateway -> until when it is believed.  ARGV 1 the time in ms, from tests alone; 2 for how long in ms,
--   3 the gateway
--   returns: the number of gateways

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
end
local until_ms = now + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.17g', until_ms), ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.17g', now))
-- Nobody can be believed for longer: the clock was set back, and who lives will say so again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.17g', until_ms + 1), '+inf')
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])
