-- `askers` has who waits for the end of a task: {channel, payload, until when, …}, packed.
local MOST = 100

-- Those who wait for this one, without one and without those who have waited for too long.
local function askers_but(id, channel, payload)
    local packed, others = call('HGET', ASKERS, id), {}
    local waiting = packed and cmsgpack.unpack(packed) or {}
    for at = 1, #waiting, 3 do
        local is_it = waiting[at] == channel and waiting[at + 1] == payload
        if not is_it and waiting[at + 2] > now then
            for part = at, at + 2 do others[#others + 1] = waiting[part] end
        end
    end
    return others
end

local function add_asker(id, channel, payload, ends)
    local waiting = askers_but(id, channel, payload)
    -- The oldest one leaves.
    if #waiting >= 3 * MOST then waiting = {unpack(waiting, #waiting - 3 * MOST + 4)} end
    for _, value in ipairs({channel, payload, ends}) do waiting[#waiting + 1] = value end
    call('HSET', ASKERS, id, cmsgpack.pack(waiting))
end

local function remove_asker(id, channel, payload)
    local waiting = askers_but(id, channel, payload)
    if #waiting > 0 then call('HSET', ASKERS, id, cmsgpack.pack(waiting)) else call('HDEL', ASKERS, id) end
end

-- Looks at some of those who wait, and removes those who have waited for too long.
local function sweep_askers()
    local page = call('HSCAN', ASKERS, call('HGET', base .. 'counts', 'askers_cursor') or '0', 'COUNT', 100)
    for at = 1, #page[2], 2 do remove_asker(page[2][at], '', '') end
    if page[1] == '0' then call('HDEL', base .. 'counts', 'askers_cursor') else call('HSET', base .. 'counts', 'askers_cursor', page[1]) end
end
