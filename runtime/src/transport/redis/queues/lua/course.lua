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

-- Progress is packed as {fraction, '', or '-' where nothing is reported; text; checkpoint where there is one}. What is not said leaves what was said
-- before. What was reported, and whether it is what was there.
local function note_progress(id, packed)
    local new, old = cmsgpack.unpack(packed), call('HGET', PROGRESS, id)
    old = old and cmsgpack.unpack(old) or {'-', ''}
    local is_reported, is_same = new[1] ~= '-', new[1] == old[1] and new[2] == old[2]
    local noted = is_reported and {new[1], new[2]} or {old[1], old[2]}
    noted[3] = new[3] or old[3]
    call('HSET', PROGRESS, id, cmsgpack.pack(noted))
    has[PROGRESS] = true
    return is_reported and noted or nil, is_same
end

-- Results. Those of one call are a batch, which is added to `results_new` as it is: its name, when that was, their bytes, how many they are, and
-- ids and values by turns, packed. Nobody pays for more until somebody asks for one: whoever does files what is there, the oldest first, some in
-- each call. Then `results` holds what is kept of each task by its id, behind the name of its batch; `results_batches` has of each batch when that
-- was, its bytes and its ids, packed; and `results_order` lists them, the oldest first. `counts` has the bounds, how many are in batches and how many
-- of them nobody has filed, their bytes, and when the oldest was kept. A task that has ended twice is in two batches, and kept once: then more are
-- listed than kept.
local BATCHES, FRESH = base .. 'results_batches', base .. 'results_new'
local kept, keeping = nil, {}

-- The bounds, and what there is; false where nothing is kept.
local function results_kept()
    if kept ~= nil then return kept end
    local found = call('HMGET', base .. 'counts', 'results_count', 'results_millis', 'results_bytes', 'results_listed', 'results_held',
        'results_oldest', 'results_fresh')
    for at = 1, 7 do found[at] = tonumber(found[at]) end
    local count_most, millis, bytes_most, listed, held, oldest, fresh = unpack(found, 1, 7)
    kept = count_most and {count = count_most, millis = millis, bytes = bytes_most, listed = listed or 0, held = held or 0,
        oldest = oldest or now, fresh = fresh or 0}
    kept = kept or false
    return kept
end

local function batch_of(name)
    local batch = name and call('HGET', BATCHES, name)
    if not batch then return nil end
    local at, bytes, ids = string.match(batch, '^(%d+) (%d+) (.*)$')
    return tonumber(at), tonumber(bytes), ids
end

-- A batch as it stands in `results_new`. One of none takes the results of its ids away.
local function fresh_text(name, at, bytes, all, packed)
    return name .. ' ' .. whole(at) .. ' ' .. whole(bytes) .. ' ' .. whole(all) .. ' ' .. packed
end

-- The oldest one there: name, when, bytes, how many, ids and values packed.
local function oldest_fresh()
    local text = call('LINDEX', FRESH, 0)
    if not text then return nil end
    local name, at, bytes, all, packed = string.match(text, '^(%S+) (%d+) (%d+) (%d+) (.*)$')
    return name, tonumber(at), tonumber(bytes), tonumber(all), packed
end

-- Adds a batch of so many results.
local function add_batch(name, all, bytes, packed)
    call('RPUSH', FRESH, fresh_text(name, now, bytes, all, packed))
    if kept.listed == 0 then kept.oldest = now end
    kept.listed, kept.held, kept.fresh, kept.added = kept.listed + all, kept.held + bytes, kept.fresh + all, (kept.added or 0) + all
end

-- Files about so many; whether that were all.
local function file_results(most)
    if call('EXISTS', FRESH) == 0 or not results_kept() then return true end
    local left = most
    local name, at, bytes, all, packed = oldest_fresh()
    while name and left > 0 do
        local values, ids = cmsgpack.unpack(packed), {}
        if all == 0 then
            call('HDEL', RESULTS, unpack(values))
        else
            for each = 1, all do ids[each] = values[2 * each - 1] end
            call('HSET', RESULTS, unpack(values))
            call('HSET', BATCHES, name, whole(at) .. ' ' .. whole(bytes) .. ' ' .. cmsgpack.pack(ids))
            call('RPUSH', ORDER, name)
        end
        call('LPOP', FRESH)
        -- Large ones take longer.
        left, kept.fresh = left - 1 - all - bytes / 4096, kept.fresh - all
        name, at, bytes, all, packed = oldest_fresh()
    end
    call('HSET', base .. 'counts', 'results_fresh', whole(kept.fresh))
    return not name
end

-- A result that is kept at the end of this call.
local function keep_result(id, value)
    keeping[#keeping + 1] = id
    keeping[#keeping + 1] = value
end

-- It has not ended any more.
local function forget_result(id)
    call('HDEL', RESULTS, id)
    if call('EXISTS', FRESH) == 1 then call('RPUSH', FRESH, fresh_text('-', now, 0, 0, cmsgpack.pack({id}))) end
end

-- Removes some of a batch. Where more are listed than kept, not those that have ended anew since.
local function drop_results(name, ids, most, is_exact)
    if is_exact then return call('HDEL', RESULTS, unpack(ids, 1, most)) end
    local before = name .. ' '
    for each = 1, most do
        local value = call('HGET', RESULTS, ids[each])
        if value and string.sub(value, 1, #before) == before then call('HDEL', RESULTS, ids[each]) end
    end
end

-- Whether some of a batch stay, unless they are few.
local function stays(at, all, over)
    return now - at <= kept.millis and kept.held <= kept.bytes and over < all and all - over > kept.count / 64
end

-- Removes results of the oldest batch that is filed; how many, and their bytes.
local function trim_filed(name)
    local at, bytes, packed = batch_of(name)
    if not at then
        call('LPOP', ORDER)
        return 0, 0
    end
    local ids, over = cmsgpack.unpack(packed), kept.listed - kept.count
    local is_exact = call('HLEN', RESULTS) == kept.listed - kept.fresh
    local trimmed, freed = #ids, bytes
    if is_exact and stays(at, #ids, over) then
        trimmed, freed = over, 0
        for each = 1, over do freed = freed + call('HSTRLEN', RESULTS, ids[each]) end
        call('HSET', BATCHES, name, whole(at) .. ' ' .. bytes - freed .. ' ' .. cmsgpack.pack({unpack(ids, over + 1)}))
    else
        call('LPOP', ORDER)
        call('HDEL', BATCHES, name)
    end
    drop_results(name, ids, trimmed, is_exact)
    return trimmed, freed
end

-- The same of the oldest one that is not.
local function trim_fresh()
    local name, at, bytes, all, packed = oldest_fresh()
    if not name then return kept.listed, kept.held end
    local over, trimmed, freed = kept.listed - kept.count, all, bytes
    if stays(at, all, over) then
        local values = cmsgpack.unpack(packed)
        trimmed, freed = over, 0
        for each = 1, over do freed = freed + #values[2 * each] end
        call('LSET', FRESH, 0, fresh_text(name, at, bytes - freed, all - over, cmsgpack.pack({unpack(values, 2 * over + 1)})))
    else
        call('LPOP', FRESH)
    end
    kept.fresh = math.max(kept.fresh - trimmed, 0)
    return trimmed, freed
end

local function oldest_kept()
    local at = batch_of(call('LINDEX', ORDER, 0))
    if at then return at end
    local _, since = oldest_fresh()
    return since or now
end

-- Removes the oldest results that are more, older or larger than is kept, about so many at most; how many.
local function trim_results(most)
    local trimmed = 0
    while kept.listed > 0 and trimmed < most do
        if kept.listed <= kept.count and kept.held <= kept.bytes and now - kept.oldest <= kept.millis then break end
        local filed = call('LINDEX', ORDER, 0)
        local number, freed
        if filed then number, freed = trim_filed(filed) else number, freed = trim_fresh() end
        trimmed, kept.listed, kept.held = trimmed + number, kept.listed - number, kept.held - freed
        kept.oldest = oldest_kept()
    end
    if trimmed > 0 or kept.added then
        call('HSET', base .. 'counts', 'results_listed', whole(kept.listed), 'results_held', whole(kept.held), 'results_oldest',
            whole(kept.oldest), 'results_fresh', whole(kept.fresh))
    end
    return trimmed
end

-- Keeps the results of this call, where the queue keeps any.
local function flush_results()
    if #keeping > 0 and results_kept() then
        local name = whole(call('HINCRBY', base .. 'counts', 'results_serial', 1))
        for from = 1, #keeping, 1000 do
            local values, bytes, batch = {}, 0, name .. '.' .. from
            for at = from, math.min(from + 999, #keeping), 2 do
                local value = batch .. ' ' .. keeping[at + 1]
                values[#values + 1] = keeping[at]
                values[#values + 1] = value
                bytes = bytes + #value
            end
            add_batch(batch, #values / 2, bytes, cmsgpack.pack(values))
        end
    end
    if kept and kept.added then trim_results(2 * kept.added + 2000) end
end
