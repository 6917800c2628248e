-- ARGV: id; how many results are kept, milliseconds and bytes, or '' each; channels. Answers 'cancelled' and the state in which the task was,
-- 'ended' and how, 'nothing', or 'more': it is to be asked again.
local id = ARGV[1]
local stream, entry, fields = seek(id, channels_from(5))
if stream == 'more' then return 'more' end
if stream == 'dead' then return 'ended dead' end
if not stream then
    local value = result_of(id)
    if value == 'more' then return 'more' end
    return value and 'ended ' .. string.match(value, '^%S+ (%a+)') or 'nothing'
end

-- A handler that runs once and had begun is not finished by anybody.
local function leave_once()
    local begun = call('HGET', BEGUN, id)
    if not begun then return end
    local key, window = unpack(cmsgpack.unpack(begun))
    local noted = call('GET', base .. 'once:' .. key)
    local held = noted and cmsgpack.unpack(noted)
    if held and held[1] == 'begun' and held[2] == id then
        if tonumber(window) > 0 then
            call('SET', base .. 'once:' .. key, cmsgpack.pack({'unfinished', '', ''}), 'PX', window)
        else
            call('DEL', base .. 'once:' .. key)
        end
    end
    call('HDEL', BEGUN, id)
end

local state, channel = stream, entry
if stream == 'held' then
    state = 'delayed'
    call('ZREM', base .. 'due', id)
    call('HDEL', base .. 'held', id)
    local delayed = 'delayed:' .. channel
    if call('HINCRBY', base .. 'counts', delayed, -1) <= 0 then call('HDEL', base .. 'counts', delayed) end
elseif stream == 'parked' then
    call('HDEL', base .. 'parked', id)
else
    channel = channel_of(stream)
    owner = owner_of(stream, entry)
    state = owner and 'running' or 'waiting'
    if owner then call('XACK', base .. stream, GROUP, entry) end
    call('XDEL', base .. stream, entry)
    if owner then
        local is_back = string.sub(stream, 1, 5) == 'back:'
        publish(base .. 'control', cjson.encode({channel = channel, is_back = is_back, entry = entry}))
    end
end
leave_once()
end_key(base, field(fields, 'unique'), id, 'cancelled')
count(base, 'cancelled', 1)
local bounds = {'results_count', 'results_millis', 'results_bytes'}
if ARGV[2] ~= '' then
    for at, bound in ipairs(bounds) do call('HSETNX', base .. 'counts', bound, ARGV[1 + at]) end
end
keep_result(id, 'cancelled - - ')
flush_results()
has[INDEX] = true
leave({id})
tell('cancelled', id, channel)
return 'cancelled ' .. state
