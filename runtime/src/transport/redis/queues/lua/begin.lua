-- ARGV: key, id, token, window. Answers 'now', 'done', 'before' or 'elsewhere'.
local key = base .. 'once:' .. ARGV[1]
local kept = call('GET', key)
if not kept then
    call('SET', key, cmsgpack.pack({'begun', ARGV[2], ARGV[3]}))
    -- Whoever cancels the task finds the key by it.
    call('HSET', base .. 'begun', ARGV[2], cmsgpack.pack({ARGV[1], ARGV[4]}))
    return 'now'
end
local state, id, token = unpack(cmsgpack.unpack(kept))
if state == 'done' then return 'done' end
if state == 'unfinished' then return 'before' end
if id ~= ARGV[2] then return 'elsewhere' end
return token == ARGV[3] and 'now' or 'before'
