-- Become the owner of an object, or learn who is.
-- KEYS[1]  ownership record (hash: worker, epoch)
-- ARGV[1]  the claiming worker   ARGV[2]  an epoch that the new one must exceed   ARGV[3]  a worker known to be dead, or ''
-- Returns {owner, epoch}. The record of a living other worker is left as it is.
local owner = redis.call('HGET', KEYS[1], 'worker')
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local me, above, dead = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if owner and owner ~= me and owner ~= dead then
    return {owner, epoch}
end
if owner ~= me or epoch <= above then
    epoch = math.max(epoch, above) + 1
    redis.call('HSET', KEYS[1], 'worker', me, 'epoch', string.format('%d', epoch))
end
redis.call('PERSIST', KEYS[1])
return {me, epoch}
