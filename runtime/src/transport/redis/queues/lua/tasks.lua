-- A deduplication key holds {id, end of the window, state, stream, entry}. Without a time to live until its task ends.
local function take_key(of, unique, id, ends, state, stream, entry)
    call('SET', of .. 'unique:' .. unique, cmsgpack.pack({id, ends, state, stream or '', entry or ''}))
end

local function key_of(of, unique, id)
    local kept = call('GET', of .. 'unique:' .. unique)
    local held = kept and cmsgpack.unpack(kept)
    return held and held[1] == id and held or nil
end

-- The task with this key has been moved.
local function move_key(of, unique, id, state, stream, entry)
    if not unique or unique == '' then return end
    local held = key_of(of, unique, id)
    if held then take_key(of, unique, id, held[2], state, stream, entry) end
end

-- The task with this key has ended: one that is done, or not to be done, holds its key until the end of the window.
local function end_key(of, unique, id, outcome)
    if not unique or unique == '' then return end
    local held = key_of(of, unique, id)
    if not held then return end
    local key = of .. 'unique:' .. unique
    if (outcome == 'completed' or outcome == 'discarded') and held[2] > now then
        call('SET', key, cmsgpack.pack({id, held[2], outcome, '', ''}), 'PXAT', whole(held[2]))
    else
        call('DEL', key)
    end
end

-- Who has this key: an id and a state. Nobody, where its task was lost.
local function holder(of, unique)
    local kept = call('GET', of .. 'unique:' .. unique)
    if not kept then return nil end
    local id, _, state, stream, entry = unpack(cmsgpack.unpack(kept))
    if state ~= 'entry' then return id, state end
    local pending = redis.pcall('XPENDING', of .. stream, GROUP, entry, entry, 1)
    if #pending > 0 then return id, 'running' end
    if entry_at(of .. stream, entry) then return id, 'waiting' end
    return nil
end

-- Has a task wait for its time. If it is the next one, one blocked reader is woken to count the time anew.
local function hold(of, channel, id, due, fields)
    local member, packed = id, cmsgpack.pack({channel, fields})
    -- Two tasks of other programs may have one id.
    while call('HSETNX', of .. 'held', member, packed) == 0 do member = member .. "'" end
    call('ZADD', of .. 'due', whole(due), member)
    count(of, 'delayed:' .. channel, 1)
    if call('ZRANGE', of .. 'due', 0, 0)[1] == member then
        call('XADD', of .. 'wake', 'MAXLEN', 1, '*', 'due', whole(due))
    end
end

-- The values of a new task, from `at` on, behind its base: channel, id, name, version, payload, due ('', '+in', '@at'), expires in ('' or
-- milliseconds), deduplication key and window ('' or milliseconds), limit ('' or tasks).
local TASK = 10

-- Adds a task, unless its key is taken: then who has it, and how that is.
local function add(of, at)
    local channel, id, due, unique = ARGV[at], ARGV[at + 1], ARGV[at + 5], ARGV[at + 7]
    if unique ~= '' then
        local there, state = holder(of, unique)
        if there then return there, state end
    end
    local fields = {'id', id, 'name', ARGV[at + 2], 'version', ARGV[at + 3], 'payload', ARGV[at + 4]}
    local time = now
    if due ~= '' then
        time = tonumber(string.sub(due, 2))
        time = string.sub(due, 1, 1) == '+' and now + time or math.max(now, time)
    end
    if ARGV[at + 6] ~= '' then
        fields[#fields + 1] = 'expires_at'
        fields[#fields + 1] = whole(time + ARGV[at + 6])
    end
    if unique ~= '' then
        fields[#fields + 1] = 'unique'
        fields[#fields + 1] = unique
    end
    local state, stream, entry = 'entry', 'new:' .. channel, ''
    if time > now then
        fields[#fields + 1] = 'record'
        fields[#fields + 1] = '{"enqueued_at":' .. whole(now) .. '}'
        state, stream = 'delayed', ''
        hold(of, channel, id, time, fields)
    else
        entry = call('XADD', of .. stream, '*', unpack(fields))
    end
    if unique ~= '' then take_key(of, unique, id, now + ARGV[at + 8], state, stream, entry) end
    return nil
end
