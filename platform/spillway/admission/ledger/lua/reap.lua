-- End what nobody renews, of a tenant that nobody asks for. Returns how many claims ended, and how many are left.

local reaped = reap()
save()
return { reaped, redis.call('ZCARD', LEASES) }
