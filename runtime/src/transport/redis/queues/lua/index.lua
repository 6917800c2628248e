-- `index` says where the entry of a task is by its id: stream and entry, with a space between them. Nobody keeps it while nobody looks for tasks by
-- their ids. Whoever does reads what was added to the streams since the last look, a little in each call; `indexed` has the last entry that was
-- looked at of each stream, when the index was made, and when it was used. So it knows the tasks of other programs and of other versions too, and
-- what it says is looked at before it is believed. Whatever ends tasks takes them out; `tidy` removes it when it is old or not used.
local PAGE, LOOKED_AT = 50, 1000

-- The streams with entries of tasks: what is short comes first.
local function streams_of(channels)
    local streams = {}
    for _, channel in ipairs(channels) do streams[#streams + 1] = 'back:' .. channel end
    streams[#streams + 1] = 'dead'
    for _, channel in ipairs(channels) do streams[#streams + 1] = 'new:' .. channel end
    return streams
end

local function id_of(entry) return field(entry[2], 'id') or entry[1] end

-- Reads on in a stream: the entry of this task, if it is there; what is left of the entries that may be looked at.
local function read_on(stream, id, left)
    local after = call('HGET', SEEN, stream)
    while left > 0 do
        local page = call('XRANGE', base .. stream, after and '(' .. after or '-', '+', 'COUNT', PAGE)
        if #page == 0 then break end
        local places, found = {}, nil
        for _, entry in ipairs(page) do
            places[#places + 1] = id_of(entry)
            places[#places + 1] = stream .. ' ' .. entry[1]
            -- Large ones take longer.
            left = left - 1 - #(field(entry[2], 'payload') or '') / 4096
            if id_of(entry) == id then found = entry end
        end
        after = page[#page][1]
        call('HSET', INDEX, unpack(places))
        call('HSET', SEEN, stream, after)
        if found then return found, left end
        if #page < PAGE then break end
    end
    return nil, left
end

-- Where a task is: 'held' or 'parked', its channel and its fields; or its stream, its entry and its fields. 'more' says that not everything was
-- looked at; nil, that it is nowhere.
local function seek(id, channels)
    local place = call('HGET', INDEX, id)
    if place then
        local stream, entry = string.match(place, '^(.*) (%S+)$')
        local found = entry_at(base .. stream, entry)
        if found and id_of(found) == id then return stream, entry, found[2] end
        call('HDEL', INDEX, id)
    end
    for _, kind in ipairs({'held', 'parked'}) do
        local packed = call('HGET', base .. kind, id)
        if packed then
            local channel, fields = unpack(cmsgpack.unpack(packed))
            return kind, channel, fields
        end
    end
    if call('HSETNX', SEEN, 'made', whole(now)) == 0 then call('HSET', SEEN, 'used', whole(now)) end
    local left = LOOKED_AT
    for _, stream in ipairs(streams_of(channels)) do
        local found
        found, left = read_on(stream, id, left)
        if found then return stream, found[1], found[2] end
        if left <= 0 then return 'more' end
    end
    return nil
end

-- The owner of an entry, if it has one.
local function owner_of(stream, entry)
    local pending = redis.pcall('XPENDING', base .. stream, GROUP, entry, entry, 1)[1]
    return pending and pending[2]
end

-- Channels, or the parts that the queue is known to have.
local function channels_from(at)
    if ARGV[at] then return {unpack(ARGV, at)} end
    return call('SMEMBERS', base .. 'parts')
end

-- A result that is not too old, and when it was kept. 'more' says that not everything was looked at.
local function result_of(id)
    if not file_results(LOOKED_AT) then return 'more' end
    local value = call('HGET', RESULTS, id)
    local at = value and batch_of(string.match(value, '^%S+'))
    if not at or not results_kept() or now - at > kept.millis then return nil end
    return value, at
end

-- A task as it is: {state, channel, entry or '', fields, owner or '', due or -1, progress or ''}.
local function seen(state, channel, entry, fields, its_owner, due)
    local id = field(fields, 'id') or entry
    local progress = has[PROGRESS] and call('HGET', PROGRESS, id) or ''
    return {state, channel, entry or '', fields, its_owner or '', due or -1, progress}
end
