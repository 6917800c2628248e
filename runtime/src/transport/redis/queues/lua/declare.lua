-- ARGV: version of the layout; how many dead letters are kept, milliseconds, bytes; the same of results, or '' each; channels. Answers the layout
-- that there is.
local layout = call('GET', base .. 'layout')
if layout and layout ~= ARGV[1] then return layout end
call('SET', base .. 'layout', ARGV[1])
call('HSET', base .. 'counts', 'keep_count', ARGV[2], 'keep_millis', ARGV[3], 'keep_bytes', ARGV[4])

if ARGV[5] ~= '' then
    call('HSET', base .. 'counts', 'results_count', ARGV[5], 'results_millis', ARGV[6], 'results_bytes', ARGV[7])
end

-- The group, from the first entry on: what was added before it is not lost.
local function group(stream)
    local made = redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then error(made) end
end

local wake = base .. 'wake'
group(wake)
for part = 8, #ARGV do
    call('SADD', base .. 'parts', ARGV[part])
    group(base .. 'back:' .. ARGV[part])
    group(base .. 'new:' .. ARGV[part])
end

-- Whatever a script calls, so that it does nothing: what the access rules refuse shows here, and not in the middle of the work.
local none, once, held, due = '0-1', base .. 'once:', base .. 'held', base .. 'due'
call('XADD', base .. 'none', 'NOMKSTREAM', '*', 'none', '')
call('XREADGROUP', 'GROUP', GROUP, 'tidings', 'COUNT', 1, 'STREAMS', wake, none)
call('XGROUP', 'DELCONSUMER', wake, GROUP, 'tidings')
call('XACK', wake, GROUP, none)
call('XDEL', wake, none)
call('XLEN', wake)
call('XRANGE', wake, none, none)
call('XREVRANGE', wake, none, none)
call('XPENDING', wake, GROUP)
call('XCLAIM', wake, GROUP, 'tidings', 0, none, 'JUSTID')
call('XINFO', 'GROUPS', wake)
call('XINFO', 'CONSUMERS', wake, GROUP)
call('ZADD', due, 'XX', 0, '')
call('ZREM', due, '')
call('ZCARD', due)
call('ZSCORE', due, '')
call('ZRANGE', due, 0, 0)
call('ZRANGEBYSCORE', due, 0, 0)
call('HSETNX', base .. 'counts', 'keep_count', 0)
call('HINCRBY', base .. 'counts', 'completed', 0)
call('HGET', held, '')
call('HMGET', held, '')
call('HDEL', held, '')
call('HLEN', held)
call('HSCAN', held, 0)
call('SMEMBERS', base .. 'parts')
call('DEL', once)
call('EXISTS', once)
call('MGET', once)
call('UNLINK', once)
call('HSTRLEN', held, '')
local list = base .. 'none:list'
call('LINDEX', list, 0)
call('LPOP', list)
call('RPUSH', list, '')
call('LSET', list, 0, '')
call('DEL', list)
-- Whoever waits for a result is told; where nobody has to be, what is refused is only counted.
if ARGV[5] ~= '' then call('PUBLISH', base .. 'none', '') end
return ARGV[1]
