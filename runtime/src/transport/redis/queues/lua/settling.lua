-- The fields of a task that moves, with its new record.
local function renewed(fields, id, record)
    local new = {'id', id, 'record', record}
    for at = 1, #fields, 2 do
        if fields[at] ~= 'id' and fields[at] ~= 'record' then
            new[#new + 1] = fields[at]
            new[#new + 1] = fields[at + 1]
        end
    end
    return new
end

-- Removes the oldest dead letters that are more, older or larger than is kept, so many at most.
local function trim_dead(most)
    local dead, counts = base .. 'dead', base .. 'counts'
    local keep = call('HMGET', counts, 'keep_count', 'keep_millis', 'keep_bytes', 'dead_bytes')
    local length, bytes, trimmed, freed = call('XLEN', dead), tonumber(keep[4] or 0), 0, 0
    while trimmed < most and length > 0 do
        local oldest = call('XRANGE', dead, '-', '+', 'COUNT', 1)[1]
        local age = now - tonumber(string.match(oldest[1], '^%d+'))
        local is_kept = length <= (tonumber(keep[1]) or length) and age <= (tonumber(keep[2]) or age)
        if is_kept and bytes - freed <= (tonumber(keep[3]) or bytes) then break end
        call('XDEL', dead, oldest[1])
        trimmed, freed, length = trimmed + 1, freed + #(field(oldest[2], 'payload') or ''), length - 1
    end
    if trimmed > 0 then
        count(base, 'dead_trimmed', trimmed)
        count(base, 'dead_bytes', -freed)
    end
    return trimmed
end

-- What the last failure said.
local function error_of(record)
    if not has[WATCHED] then return nil end
    local is_read, found = pcall(cjson.decode, record)
    return is_read and type(found) == 'table' and type(found.error) == 'string' and found.error or nil
end

local function bury(stream, id, unique, once, fields, record, reason, instance)
    local letter = {'channel', channel_of(stream), 'reason', reason, 'instance', instance}
    if reason == 'unfinished' and once ~= '' then
        letter[#letter + 1] = 'once'
        letter[#letter + 1] = once
    end
    for _, value in ipairs(renewed(fields, id, record)) do letter[#letter + 1] = value end
    call('XADD', base .. 'dead', '*', unpack(letter))
    end_key(base, unique, id, 'dead')
    count(base, 'dead', 1)
    count(base, 'dead_bytes', #(field(fields, 'payload') or ''))
    trim_dead(100)
    tell('dead', id, channel_of(stream), {reason = reason, error = error_of(record), instance = instance})
end

local function again(stream, id, unique, fields, record, why, after)
    local channel, moved = channel_of(stream), renewed(fields, id, record)
    if after == '' then
        local back = 'back:' .. channel
        move_key(base, unique, id, 'entry', back, call('XADD', base .. back, '*', unpack(moved)))
    else
        hold(base, channel, id, now + after, moved)
        move_key(base, unique, id, 'delayed')
    end
    count(base, why, 1)
    local what = (why == 'failed' or why == 'crashed') and why or 'returned'
    tell(what, id, channel, {after = after ~= '' and tonumber(after) or nil, error = what == 'failed' and error_of(record) or nil})
end

local function park(stream, id, unique, fields, record)
    local member, packed = id, cmsgpack.pack({channel_of(stream), renewed(fields, id, record)})
    while call('HSETNX', base .. 'parked', member, packed) == 0 do member = member .. "'" end
    move_key(base, unique, id, 'parked')
    tell('parked', id, channel_of(stream))
end

-- A key of a handler that runs once: it was done, or will never be finished, or is free again.
local function settle_once(once, id, state, window)
    if once == '' then return end
    call('HDEL', BEGUN, id)
    if (state == 'completed' or state == 'unfinished') and tonumber(window) > 0 then
        local value = cmsgpack.pack({state == 'completed' and 'done' or state, '', ''})
        call('SET', base .. 'once:' .. once, value, 'PX', window)
    else
        call('DEL', base .. 'once:' .. once)
    end
end

-- Keeps results of one batch, which are ids and values by turns: all of them, or those that counted.
local function keep_batch(at, results, all, counted)
    if not results_kept() then return end
    local name = ARGV[at + 3]
    if #counted == all then return add_batch(name, all, tonumber(ARGV[at + 4]), ARGV[at + 5]) end
    local values, bytes = {}, 0
    for _, each in ipairs(counted) do
        local id, value = results[2 * each - 1], results[2 * each]
        values[#values + 1], values[#values + 2] = id, value
        bytes = bytes + #value
    end
    add_batch(name, #counted, bytes, cmsgpack.pack(values))
end

-- Entries of one stream that are done and leave nothing behind but their results, from `at` on: what counted, and where what follows begins.
local function done(at)
    local stream, all, has_results = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at] == 'R'
    local first = at + (has_results and 6 or 3)
    local key, last = base .. stream, first + all - 1
    local following = last + 1 + (has_results and 0 or all)
    local acked = call('XACK', key, GROUP, unpack(ARGV, first, last))
    if acked == 0 then return string.rep('0', all), following end
    count(base, 'completed', acked)
    local answer, counted = string.rep('1', all), {}
    if acked == all then
        call('XDEL', key, unpack(ARGV, first, last))
        if not has_results and not next(has) then return answer, following end
        for each = 1, all do counted[each] = each end
    else
        -- Those that were settled before are not in the stream any more.
        local digits = {}
        for each = 1, all do
            digits[each] = tostring(call('XDEL', key, ARGV[first + each - 1]))
            if digits[each] == '1' then counted[#counted + 1] = each end
        end
        answer = table.concat(digits)
    end
    local results = has_results and (#counted < all or next(has)) and cmsgpack.unpack(ARGV[at + 5])
    if has_results and #counted > 0 then keep_batch(at, results, all, counted) end
    if next(has) and #counted > 0 then
        local ids = {}
        for at_id, each in ipairs(counted) do
            ids[at_id] = results and results[2 * each - 1] or ARGV[last + each]
            tell('completed', ids[at_id], channel_of(stream))
        end
        leave(ids)
    end
    return answer, following
end

-- Whether it is settled by this, and its fields. Where it is asked, its lease is over.
local function own(stream, entry, is_over)
    local key = base .. stream
    local pending = is_over and call('XPENDING', key, GROUP, entry, entry, 1)[1]
    if is_over and not (pending and is_over(pending)) then return nil end
    local found = entry_at(key, entry)
    if call('XACK', key, GROUP, entry) == 0 then return nil end
    if not found then
        -- Somebody has deleted it.
        count(base, 'lost', 1)
        return nil
    end
    call('XDEL', key, entry)
    return found[2]
end

-- Carries out the settlements from `at` on, each of which counts only while its entry is pending:
--   'D' stream n entries… ids…                                     done, and nothing else
--   'R' stream n batch bytes results entries…                      done, and their results are kept, of so many bytes: ids and values by turns,
--                                                                  packed: one value passes quicker than many
--   verb stream entry id unique once window result channel announcement progress …   with the empty text for what there is not
--     'E' outcome n (base task)…                                    ended as 'completed', 'discarded' or 'expired', with follow-ups
--     'A' why after record                                          again, after milliseconds, or at once with ''
--     'P' record                                                    parked
--     'X' record reason instance                                    dead
-- Answers a text of one digit each, in order: 1 counted. Behind it, where the access rules have refused to publish something, a space and how
-- often.
local function settle(at, is_over)
    local counted = {}
    while ARGV[at] do
        local verb, stream, answer = ARGV[at], ARGV[at + 1], '0'
        if verb == 'D' or verb == 'R' then
            answer, at = done(at)
        else
            local id, unique = ARGV[at + 3], ARGV[at + 4]
            local fields = own(stream, ARGV[at + 2], is_over)
            local outcome, rest, has_ended = '', at + 11, verb == 'E' or verb == 'X'
            if fields then answer = '1' end
            if verb == 'E' then
                outcome = ARGV[rest]
                local follow_ups = tonumber(ARGV[rest + 1])
                rest = rest + 2
                for follow_up = 1, follow_ups do
                    if fields then add(ARGV[rest], rest + 1) end
                    rest = rest + 1 + TASK
                end
                if fields then
                    end_key(base, unique, id, outcome)
                    count(base, outcome, 1)
                    tell(outcome, id, channel_of(stream))
                end
            elseif verb == 'A' then
                if fields then again(stream, id, unique, fields, ARGV[rest + 2], ARGV[rest], ARGV[rest + 1]) end
                rest = rest + 3
            elseif verb == 'P' then
                if fields then park(stream, id, unique, fields, ARGV[rest]) end
                rest = rest + 1
            else
                outcome = ARGV[rest + 1]
                if fields then bury(stream, id, unique, ARGV[at + 5], fields, ARGV[rest], outcome, ARGV[rest + 2]) end
                rest = rest + 3
            end
            if fields then
                settle_once(ARGV[at + 5], id, outcome, ARGV[at + 6])
                if has_ended then
                    if ARGV[at + 7] ~= '' then keep_result(id, ARGV[at + 7]) end
                    if ARGV[at + 8] ~= '' then publish(ARGV[at + 8], ARGV[at + 9]) end
                    if next(has) then leave({id}) end
                elseif ARGV[at + 10] ~= '' then
                    note_progress(id, ARGV[at + 10])
                end
            end
            at = rest
        end
        counted[#counted + 1] = answer
    end
    flush_results()
    if unpublished > 0 then counted[#counted + 1] = ' ' .. unpublished end
    return table.concat(counted)
end
