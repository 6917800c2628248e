-- What `step` does, where there is little to do: all that is settled is done, came from `new` and leaves nothing behind but a result; nothing is
-- there that somebody has asked for, nothing is due or has come back, and no result has to leave. Otherwise it does nothing and answers nil. Few
-- functions, since each is made anew in every call.
-- ARGV: channel of the only part; 'D' or 'R' and what `settle` takes behind the stream's name, without the ids of 'D'. What it keeps it adds as
-- `add_batch` does.
-- Answers {what counted, now, milliseconds until the next task is due or -1}.
if call('EXISTS', base .. 'index', base .. 'askers', base .. 'progress', base .. 'paused', base .. 'watched') > 0 then return false end
if call('XLEN', base .. 'back:' .. ARGV[1]) > 0 then return false end
local due, next_due = call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES'), -1
if due[1] then
    next_due = due[2] - now
    if next_due <= 0 then return false end
end

local key, counts, all, has_results = base .. 'new:' .. ARGV[1], base .. 'counts', tonumber(ARGV[3]), ARGV[2] == 'R'
local first = has_results and 7 or 4
local last, bytes, results, listed, held, oldest, fresh = first + all - 1, nil, nil, nil, nil, nil, nil
if has_results then
    local kept = call('HMGET', counts, 'results_count', 'results_bytes', 'results_millis', 'results_listed', 'results_held', 'results_oldest',
        'results_fresh')
    bytes, results = tonumber(ARGV[5]), ARGV[6]
    listed, held, fresh = tonumber(kept[4]) or 0, tonumber(kept[5]) or 0, tonumber(kept[7]) or 0
    oldest = listed > 0 and tonumber(kept[6]) or now
    local most = tonumber(kept[1]) or 0
    if listed + all > most or held + bytes > tonumber(kept[2]) or now - oldest > tonumber(kept[3]) then return false end
end

if all == 0 then return cmsgpack.pack({'', now, next_due}) end
local acked = call('XACK', key, GROUP, unpack(ARGV, first, last))
local digits, added = string.rep(acked == all and '1' or '0', all), acked
if acked == all then
    call('XDEL', key, unpack(ARGV, first, last))
elseif acked > 0 then
    -- Those that were settled before are not in the stream any more.
    local each, values, sent = {}, {}, has_results and cmsgpack.unpack(results)
    bytes = 0
    for at = 1, all do
        each[at] = tostring(call('XDEL', key, ARGV[first + at - 1]))
        if has_results and each[at] == '1' then
            values[#values + 1], values[#values + 2] = sent[2 * at - 1], sent[2 * at]
            bytes = bytes + #sent[2 * at]
        end
    end
    digits = table.concat(each)
    added, results = #values / 2, cmsgpack.pack(values)
end
if acked > 0 then
    count(base, 'completed', acked)
    if has_results and added > 0 then
        call('RPUSH', base .. 'results_new', ARGV[4] .. ' ' .. whole(now) .. ' ' .. whole(bytes) .. ' ' .. whole(added) .. ' ' .. results)
        call('HSET', counts, 'results_listed', whole(listed + added), 'results_held', whole(held + bytes), 'results_oldest', whole(oldest),
            'results_fresh', whole(fresh + added))
    end
end
return cmsgpack.pack({digits, now, next_due})
