-- The object sleeps: let its ownership lapse after a while, if it is still this worker's.
-- KEYS[1]  ownership record   ARGV[1]  the worker   ARGV[2]  milliseconds, 0 to give it up at once
if redis.call('HGET', KEYS[1], 'worker') ~= ARGV[1] then
    return 0
end
if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[1], 'worker')  -- the epoch stays: the next owner goes on from it
    redis.call('PEXPIRE', KEYS[1], 3600000)
else
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
