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
-- first, those of one call together: {when, bytes, ids}. `counts` has the bounds, how many are listed, their bytes, and when the oldest was kept. A
-- task that has ended twice is listed twice, and kept once: then more are listed than kept.
local keeping = {}

local function keep_result(id, value)
    keeping[#keeping + 1] = id
    keeping[#keeping + 1] = value
end

-- The bounds, and what there is.
local function results_state()
    local found = call('HMGET', base .. 'counts', 'results_count', 'results_millis', 'results_bytes', 'results_listed', 'results_held',
        'results_oldest')
    for at = 1, 6 do found[at] = tonumber(found[at]) end
    local count_most, millis, bytes_most, listed, held, oldest = unpack(found, 1, 6)
    return {count = count_most, millis = millis, bytes = bytes_most, listed = listed or 0, held = held or 0, oldest = oldest or now}
end

-- Removes some of those that were kept in one call. Where more are listed than kept, not those that have ended anew since.
local function drop_results(ids, at, most, is_exact)
    local dropped = {}
    for each = 1, most do
        local is_it = is_exact
        if not is_it then
            local value = call('HGET', RESULTS, ids[each])
            is_it = value and string.match(value, '^%d+') == whole(at)
        end
        if is_it then dropped[#dropped + 1] = ids[each] end
    end
    for from = 1, #dropped, 1000 do call('HDEL', RESULTS, unpack(dropped, from, math.min(from + 999, #dropped))) end
end

-- Removes the oldest results that are more, older or larger than is kept, about so many at most; how many.
local function trim_results(state, most)
    local trimmed = 0
    while state.listed > 0 and trimmed < most do
        local over, are_large = state.listed - state.count, state.held > state.bytes
        if over <= 0 and not are_large and now - state.oldest <= state.millis then break end
        local first = call('LPOP', ORDER)
        if not first then
            state.listed, state.held = 0, 0
            break
        end
        local at, bytes, ids = unpack(cmsgpack.unpack(first))
        local is_exact = call('HLEN', RESULTS) == state.listed
        if is_exact and over < #ids and #ids - over > state.count / 64 and not are_large and now - at <= state.millis then
            -- The others of that call stay, unless they are few.
            local freed = 0
            for each = 1, over do freed = freed + call('HSTRLEN', RESULTS, ids[each]) end
            drop_results(ids, at, over, true)
            call('LPUSH', ORDER, cmsgpack.pack({at, bytes - freed, {unpack(ids, over + 1)}}))
            state.listed, state.held, trimmed = state.listed - over, state.held - freed, trimmed + over
        else
            drop_results(ids, at, #ids, is_exact)
            state.listed, state.held, trimmed = state.listed - #ids, state.held - bytes, trimmed + #ids
            local head = call('LINDEX', ORDER, 0)
            state.oldest = head and cmsgpack.unpack(head)[1] or now
        end
    end
    return trimmed
end

local function note_results(state)
    call('HSET', base .. 'counts', 'results_listed', whole(state.listed), 'results_held', whole(state.held), 'results_oldest',
        whole(state.oldest))
end

-- Keeps the results of this call, where the queue keeps any.
local function flush_results()
    local most = #keeping
    if most == 0 then return end
    local state, stamp = results_state(), whole(now) .. ' '
    if not state.count then return end
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
        call('RPUSH', ORDER, cmsgpack.pack({now, bytes, ids}))
        if state.listed == 0 then state.oldest = now end
        state.listed, state.held = state.listed + #ids, state.held + bytes
    end
    trim_results(state, most + 100)
    note_results(state)
end
