-- What `step` does, where there is little to do: all that is settled is done, came from `new` and leaves nothing behind but a result; nothing is
-- there that somebody has asked for, nothing is due or has come back, and no result has to leave. Otherwise it does nothing and answers nil. Few
-- functions, since each is made anew in every call.
-- ARGV: channel of the only part; 'D' or 'R' and what `settle` takes behind the stream's name, without the ids of 'D'.
-- Answers {what counted, now, milliseconds until the next task is due or -1}.
if call('EXISTS', base .. 'index', base .. 'askers', base .. 'progress', base .. 'paused', base .. 'watched') > 0 then return false end
if call('XLEN', base .. 'back:' .. ARGV[1]) > 0 then return false end
local due, next_due = call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES'), -1
if due[1] then
    next_due = due[2] - now
    if next_due <= 0 then return false end
end

local key, counts, all, has_results = base .. 'new:' .. ARGV[1], base .. 'counts', tonumber(ARGV[3]), ARGV[2] == 'R'
local first = has_results and 8 or 4
local last, bytes, ids, results, listed, held, oldest = first + all - 1, nil, nil, nil, nil, nil, nil
if has_results then
    local kept = call('HMGET', counts, 'results_count', 'results_bytes', 'results_millis', 'results_listed', 'results_held', 'results_oldest')
    bytes, ids, results = tonumber(ARGV[5]), ARGV[6], cmsgpack.unpack(ARGV[7])
    listed, held = tonumber(kept[4]) or 0, tonumber(kept[5]) or 0
    oldest = listed > 0 and tonumber(kept[6]) or now
    local most = tonumber(kept[1]) or 0
    if listed + all > most or held + bytes > tonumber(kept[2]) or now - oldest > tonumber(kept[3]) then return false end
end

if all == 0 then return cmsgpack.pack({'', now, next_due}) end
local acked = call('XACK', key, GROUP, unpack(ARGV, first, last))
local digits = string.rep(acked == all and '1' or '0', all)
if acked == all then
    call('XDEL', key, unpack(ARGV, first, last))
elseif acked > 0 then
    -- Those that were settled before are not in the stream any more.
    local each, values, these = {}, {}, {}
    bytes = 0
    for at = 1, all do
        each[at] = tostring(call('XDEL', key, ARGV[first + at - 1]))
        if has_results and each[at] == '1' then
            local id, value = results[2 * at - 1], results[2 * at]
            these[#these + 1], values[#values + 1], values[#values + 2] = id, id, value
            bytes = bytes + #value
        end
    end
    digits = table.concat(each)
    if #values > 0 then
        call('HSET', base .. 'results', unpack(values))
        ids = cmsgpack.pack(these)
    end
end
if acked > 0 then
    count(base, 'completed', acked)
    if has_results then
        if acked == all then call('HSET', base .. 'results', unpack(results)) end
        call('HSET', base .. 'results_batches', ARGV[4], whole(now) .. ' ' .. bytes .. ' ' .. ids)
        call('RPUSH', base .. 'results_order', ARGV[4])
        call('HSET', counts, 'results_listed', whole(listed + acked), 'results_held', whole(held + bytes), 'results_oldest', whole(oldest))
    end
end
return cmsgpack.pack({digits, now, next_due})
