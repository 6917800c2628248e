-- What is there only where somebody has asked for it. Mostly nothing is, and one command says so.
local INDEX, SEEN, ASKERS, PROGRESS = base .. 'index', base .. 'indexed', base .. 'askers', base .. 'progress'
local BEGUN, PAUSED, WATCHED = base .. 'begun', base .. 'paused', base .. 'watched'
local RESULTS, ORDER = base .. 'results', base .. 'results_order'
local has = {}
if call('EXISTS', INDEX, ASKERS, PROGRESS, PAUSED, WATCHED) > 0 then
    for _, key in ipairs({INDEX, ASKERS, PROGRESS, PAUSED, WATCHED}) do
        has[key] = call('EXISTS', key) == 1 or nil
    end
end
-- Who has what is settled, where that is known.
local owner = nil
-- How often the access rules have refused to publish.
local unpublished = 0

-- What is refused is counted: whatever is published comes after a step that cannot be taken back.
local function publish(channel, payload)
    local sent = redis.pcall('PUBLISH', channel, payload)
    if type(sent) == 'table' and sent.err then
        count(base, 'unpublished', 1)
        unpublished = unpublished + 1
    end
end

-- Tells watchers of a task.
local function tell(what, id, channel, more)
    if not has[WATCHED] then return end
    local told = more or {}
    told.what, told.id, told.channel, told.at, told.instance = what, id, channel, now, told.instance or owner
    publish(base .. 'events', cjson.encode(told))
end

-- Tells whoever waits for the end of these tasks.
local function poke(ids)
    local found = {}
    for at, packed in ipairs(call('HMGET', ASKERS, unpack(ids))) do
        if packed then
            found[#found + 1] = ids[at]
            local waiting = cmsgpack.unpack(packed)
            for asker = 1, #waiting, 3 do
                if waiting[asker + 2] > now then publish(waiting[asker], waiting[asker + 1]) end
            end
        end
    end
    if #found > 0 then call('HDEL', ASKERS, unpack(found)) end
end

-- These tasks have ended: nothing is left of what was noted of them.
local function leave(ids)
    if has[INDEX] then call('HDEL', INDEX, unpack(ids)) end
    if has[PROGRESS] then call('HDEL', PROGRESS, unpack(ids)) end
    if has[ASKERS] then poke(ids) end
end

-- Progress is packed as {fraction or '', text, checkpoint where there is one}. What says nothing of the checkpoint leaves the one before.
local function note_progress(id, packed)
    local new = cmsgpack.unpack(packed)
    if not new[3] then
        local old = call('HGET', PROGRESS, id)
        old = old and cmsgpack.unpack(old)
        if old and old[3] then packed = cmsgpack.pack({new[1], new[2], old[3]}) end
    end
    call('HSET', PROGRESS, id, packed)
    has[PROGRESS] = true
    return new
end

-- Results. `results` holds what is kept of each task by its id, behind the millisecond in which it ended. `results_order` lists them, the oldest
-- first, those of one call together: {when, bytes, ids}. `counts` has the bounds, how many are listed, their bytes, and when the oldest was kept.
-- A task that has ended twice is listed twice, and kept once: then more are listed than kept.
local keeping = {}

local function keep_result(id, value)
    keeping[#keeping + 1] = id
    keeping[#keeping + 1] = value
end

local DEFAULTS = {100000, 3600000, 67108864}

local function drop_results(ids, at, most, is_exact)
    local dropped, freed = {}, 0
    for each = 1, most do
        local id = ids[each]
        if is_exact then
            dropped[#dropped + 1] = id
        else
            local value = call('HGET', RESULTS, id)
            if value and string.match(value, '^%d+') == whole(at) then dropped[#dropped + 1] = id end
        end
    end
    if #dropped > 0 then call('HDEL', RESULTS, unpack(dropped)) end
end

-- Removes the oldest results that are more, older or larger than is kept, about so many at most.
local function trim_results(most)
    local state = call('HMGET', base .. 'counts', 'results_count', 'results_millis', 'results_bytes', 'results_listed', 'results_held',
        'results_oldest')
    for at = 1, 6 do state[at] = tonumber(state[at]) end
    local count_most, millis, bytes_most = state[1] or DEFAULTS[1], state[2] or DEFAULTS[2], state[3] or DEFAULTS[3]
    local listed, held, oldest = state[4] or 0, state[5] or 0, state[6] or now
    local before, held_before, trimmed = listed, held, 0
    while listed > 0 and trimmed < most do
        local over = listed - count_most
        if over <= 0 and held <= bytes_most and now - oldest <= millis then break end
        local first = call('LPOP', ORDER)
        if not first then
            listed, held = 0, 0
            break
        end
        local at, bytes, ids = unpack(cmsgpack.unpack(first))
        local is_exact = call('HLEN', RESULTS) == listed
        local by_count = over > 0 and held <= bytes_most and now - at <= millis
        if by_count and is_exact and over < #ids and #ids - over > count_most / 64 then
            -- The others of that call stay.
            local rest, freed = {}, 0
            for each = 1, over do freed = freed + call('HSTRLEN', RESULTS, ids[each]) end
            for each = over + 1, #ids do rest[#rest + 1] = ids[each] end
            drop_results(ids, at, over, true)
            call('LPUSH', ORDER, cmsgpack.pack({at, bytes - freed, rest}))
            listed, held, trimmed = listed - over, held - freed, trimmed + over
        else
            drop_results(ids, at, #ids, is_exact)
            listed, held, trimmed = listed - #ids, held - bytes, trimmed + #ids
            local head = call('LINDEX', ORDER, 0)
            oldest = head and cmsgpack.unpack(head)[1] or now
        end
    end
    if trimmed > 0 or listed ~= before then
        call('HSET', base .. 'counts', 'results_listed', whole(listed), 'results_held', whole(held), 'results_oldest', whole(oldest))
    end
    return trimmed
end

-- Keeps the results of this call.
local function flush_results()
    local most = #keeping
    if most == 0 then return end
    local stamp = whole(now) .. ' '
    for from = 1, most, 1000 do
        local values, ids, bytes = {}, {}, 0
        for at = from, math.min(from + 999, most), 2 do
            local value = stamp .. keeping[at + 1]
            ids[#ids + 1] = keeping[at]
            values[#values + 1] = keeping[at]
            values[#values + 1] = value
            bytes = bytes + #value
        end
        call('HSET', RESULTS, unpack(values))
        local length = call('RPUSH', ORDER, cmsgpack.pack({now, bytes, ids}))
        count(base, 'results_listed', #ids)
        count(base, 'results_held', bytes)
        if length == 1 then call('HSET', base .. 'counts', 'results_oldest', whole(now)) end
    end
    keeping = {}
    trim_results(most + 100)
end
