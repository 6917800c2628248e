-- ARGV: instance, about, then stream and entry of each lease. Answers a text of one digit each: 0 it is lost.
call('ZADD', base .. 'instances', whole(now), ARGV[1])
call('HSET', base .. 'about', ARGV[1], ARGV[2])
local kept = {}
for at = 3, #ARGV, 2 do
    local stream, entry = base .. ARGV[at], ARGV[at + 1]
    local pending = call('XPENDING', stream, GROUP, entry, entry, 1)[1]
    -- A claim by the old owner would take the entry back.
    local is_own = pending and pending[2] == ARGV[1]
    local function renew()
        return #call('XCLAIM', stream, GROUP, ARGV[1], 0, entry, 'RETRYCOUNT', whole(taken_at(pending)), 'JUSTID') > 0
    end
    kept[#kept + 1] = is_own and renew() and '1' or '0'
end
return table.concat(kept)
