-- ARGV: channels. Answers {parked, dead, age of the oldest or -1, {ended…}, {waiting, delayed, running, …}, results, 1 it is paused
-- or 0}.
local oldest, parts = -1, {}

local function older(since) oldest = math.max(oldest, now - since) end

-- The first entry of a stream that nobody has taken. The group's lag says nothing once an entry was removed.
local function look(stream)
    local pending = redis.pcall('XPENDING', stream, GROUP)[1]
    local waiting = call('XLEN', stream) - (pending or 0)
    if waiting <= 0 then return 0, pending or 0 end
    local after = '-'
    for _, group in ipairs(call('XINFO', 'GROUPS', stream)) do
        for at = 1, #group, 2 do
            if group[at] == 'last-delivered-id' and group[2] == GROUP then after = '(' .. group[at + 1] end
        end
    end
    local first = call('XRANGE', stream, after, '+', 'COUNT', 1)[1]
    if first then older(tonumber(string.match(first[1], '^%d+'))) end
    return waiting, pending or 0
end

for _, channel in ipairs(ARGV) do
    local came_back, has_back = look(base .. 'back:' .. channel)
    local new, has_new = look(base .. 'new:' .. channel)
    local delayed = tonumber(call('HGET', base .. 'counts', 'delayed:' .. channel) or 0)
    for _, value in ipairs({came_back + new, math.max(delayed, 0), has_back + has_new}) do parts[#parts + 1] = value end
end
local due = call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES')
if due[1] and tonumber(due[2]) <= now then older(tonumber(due[2])) end
local ended = {}
for at, value in ipairs(call('HMGET', base .. 'counts', 'completed', 'dead', 'discarded', 'expired', 'failed', 'crashed',
    'handed_back', 'unknown', 'dead_trimmed', 'cancelled')) do
    ended[at] = tonumber(value or 0)
end
-- What nobody has filed may hold a result of a task twice.
local has_fresh = call('EXISTS', base .. 'results_new') == 1
local results = has_fresh and tonumber(call('HGET', base .. 'counts', 'results_listed') or 0) or call('HLEN', base .. 'results')
return cmsgpack.pack({call('HLEN', base .. 'parked'), call('XLEN', base .. 'dead'), oldest, ended, parts, results,
    call('EXISTS', base .. 'paused')})
