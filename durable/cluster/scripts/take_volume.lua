-- Pin the data directory that belongs to this Redis, once.
-- KEYS[1]  the pin   ARGV[1]  id of the directory
-- Returns the id that is pinned.
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
