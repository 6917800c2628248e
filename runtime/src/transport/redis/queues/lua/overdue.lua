-- ARGV: lease, patience, limit, channels. Answers {now, milliseconds until the next one can be or -1, tombstones, {part, 1 came back or 0, {id, fields},
-- owner, 1 it has died or 0, …}}.
local patience, left, next_end, lost = tonumber(ARGV[2]), tonumber(ARGV[3]), -1, 0
local SEEN, PAGE = 1000, 100
local found = {}

-- Heartbeats of the future say that the clock was put back since. They count from now on.
local ahead = #ARGV > 3 and call('ZRANGEBYSCORE', base .. 'instances', '(' .. whole(now), '+inf') or {}
for _, instance in ipairs(ahead) do call('ZADD', base .. 'instances', whole(now), instance) end

-- What was given out or renewed in the future seems to be of this millisecond, until the clock has caught up. From now on it is.
local function hold_from_now(stream, pending)
    local since = whole(taken_at(pending))
    local claimed = call('XCLAIM', stream, GROUP, pending[2], 0, pending[1], 'RETRYCOUNT', since, 'JUSTID')
    -- What somebody has deleted is not pending any more.
    lost = lost + 1 - #claimed
    return #claimed > 0
end

local function has_died(owner)
    local beat = call('ZSCORE', base .. 'instances', owner)
    return (not beat or now - beat > lease_of(owner)) and 1 or 0
end

-- In how many milliseconds it is over, of what XPENDING says of an entry.
local function ends_in(pending)
    local own = lease_of(pending[2])
    return math.max(own + 1 - pending[3], own - patience, 0)
end

local function take_from(stream, part, back)
    local from = '-'
    repeat
        local page = left > 0 and call('XPENDING', stream, GROUP, 'IDLE', whole(lease + 1), from, '+', PAGE) or {}
        for _, pending in ipairs(page) do
            if left == 0 then break end
            local is_over = ends_in(pending) == 0
            local entry = is_over and entry_at(stream, pending[1])
            if entry then
                left = left - 1
                for _, value in ipairs({part - 1, back, entry, pending[2], has_died(pending[2])}) do
                    found[#found + 1] = value
                end
            elseif is_over then
                -- Somebody has deleted it.
                lost = lost + call('XACK', stream, GROUP, pending[1])
            end
            from = '(' .. pending[1]
        end
    until #page < PAGE or left == 0
end

local function look(part, back)
    local stream = base .. (back == 1 and 'back:' or 'new:') .. ARGV[3 + part]
    if call('XPENDING', stream, GROUP)[1] == 0 then return end
    take_from(stream, part, back)
    local from, seen = '-', 0
    repeat
        local page = call('XPENDING', stream, GROUP, from, '+', SEEN)
        for _, pending in ipairs(page) do
            local ends = ends_in(pending)
            local is_there = pending[3] > 0 or hold_from_now(stream, pending)
            -- Those that are over were found, unless there were more.
            if is_there and (ends > 0 or left == 0) then next_end = next_end < 0 and ends or math.min(next_end, ends) end
            from = '(' .. pending[1]
        end
        seen = #page
    until seen < SEEN or #ahead == 0
    -- Of those that were not looked at one may be older.
    if seen == SEEN then next_end = math.min(next_end < 0 and lease or next_end, math.ceil(lease / 4)) end
end

for part = 1, #ARGV - 3 do
    look(part, 1)
    look(part, 0)
end
if lost > 0 then count(base, 'lost', lost) end
return cmsgpack.pack({now, next_end, lost, found})
