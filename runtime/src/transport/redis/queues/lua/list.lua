-- ARGV: state, how many, from where (two words, or '' and ''), channels. Answers {from where the next page is or '', {task, …}}.
local state, most, first, second = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local found, following = {}, ''

local function later(one, other)
    local function numbers(entry)
        local millis, serial = string.match(entry, '^(%d+)-(%d+)$')
        return tonumber(millis), tonumber(serial)
    end
    local a, b = numbers(one)
    local c, d = numbers(other)
    return (a > c or a == c and b > d) and one or other
end

-- The last entry that an instance was given.
local function last_given(stream)
    for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', stream)) do
        if group[2] == GROUP then
            for at = 1, #group, 2 do
                if group[at] == 'last-delivered-id' then return group[at + 1] end
            end
        end
    end
    return '0-0'
end

-- What nobody has taken stands behind what was taken last.
local function waiting_in(stream, after)
    local start = later(last_given(base .. stream), after)
    local page = call('XRANGE', base .. stream, '(' .. start, '+', 'COUNT', most - #found)
    for _, entry in ipairs(page) do found[#found + 1] = seen('waiting', channel_of(stream), entry[1], entry[2]) end
    return page[#page] and page[#page][1]
end

local function running_in(stream, after)
    local last = nil
    for _, pending in ipairs(redis.pcall('XPENDING', base .. stream, GROUP, '(' .. after, '+', most - #found)) do
        local entry = entry_at(base .. stream, pending[1])
        if entry then found[#found + 1] = seen('running', channel_of(stream), entry[1], entry[2], pending[2]) end
        last = pending[1]
    end
    return last
end

-- From one stream after the other: the number of the stream, and the last entry of the page before.
local function of_streams(look)
    local streams = {}
    for part = 5, #ARGV do
        streams[#streams + 1] = 'back:' .. ARGV[part]
        streams[#streams + 1] = 'new:' .. ARGV[part]
    end
    local after = second ~= '' and second or '0-0'
    for at = tonumber(first) or 1, #streams do
        local last = look(streams[at], after)
        if #found >= most then
            following = at .. ' ' .. (last or after)
            return
        end
        after = '0-0'
    end
end

-- By their time: that of the last one, and how many of that time were on pages before.
local function delayed()
    local before = tonumber(second) or 0
    local page = call('ZRANGEBYSCORE', base .. 'due', first ~= '' and first or '-inf', '+inf', 'WITHSCORES', 'LIMIT', before, most)
    local last, same = first, before
    for at = 1, #page, 2 do
        same = page[at + 1] == last and same + 1 or 1
        last = page[at + 1]
        local packed = call('HGET', base .. 'held', page[at])
        if packed then
            local channel, fields = unpack(cmsgpack.unpack(packed))
            found[#found + 1] = seen('delayed', channel, nil, fields, nil, tonumber(last))
        end
    end
    if #page >= 2 * most then following = last .. ' ' .. same end
end

local function parked()
    local page = call('HSCAN', base .. 'parked', first ~= '' and first or '0', 'COUNT', most)
    for at = 2, #page[2], 2 do
        local channel, fields = unpack(cmsgpack.unpack(page[2][at]))
        found[#found + 1] = seen('parked', channel, nil, fields)
    end
    if page[1] ~= '0' then following = page[1] .. ' 0' end
end

local function dead()
    local page = call('XREVRANGE', base .. 'dead', second ~= '' and '(' .. second or '+', '-', 'COUNT', most)
    for _, letter in ipairs(page) do
        found[#found + 1] = seen('dead', field(letter[2], 'channel') or '', letter[1], letter[2])
    end
    if #page >= most then following = '0 ' .. page[#page][1] end
end

if state == 'waiting' then of_streams(waiting_in) end
if state == 'running' then of_streams(running_in) end
if state == 'delayed' then delayed() end
if state == 'parked' then parked() end
if state == 'dead' then dead() end
return cmsgpack.pack({following, found})
