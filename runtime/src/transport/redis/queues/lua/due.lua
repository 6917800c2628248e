-- Has the tasks wait whose time has come, 100 at most.
local function bring_due()
    local due = base .. 'due'
    local first = call('ZRANGE', due, 0, 0, 'WITHSCORES')
    if not first[1] then return -1 end
    if tonumber(first[2]) > now then return first[2] - now end
    for _, member in ipairs(call('ZRANGEBYSCORE', due, '-inf', whole(now), 'LIMIT', 0, 100)) do
        local packed = call('HGET', base .. 'held', member)
        call('ZREM', due, member)
        call('HDEL', base .. 'held', member)
        if packed then
            local channel, fields = unpack(cmsgpack.unpack(packed))
            local back = 'back:' .. channel
            local entry = call('XADD', base .. back, '*', unpack(fields))
            -- Channels may come and go.
            local delayed = 'delayed:' .. channel
            if call('HINCRBY', base .. 'counts', delayed, -1) <= 0 then call('HDEL', base .. 'counts', delayed) end
            move_key(base, field(fields, 'unique'), field(fields, 'id'), 'entry', back, entry)
        end
    end
    first = call('ZRANGE', due, 0, 0, 'WITHSCORES')
    return first[1] and math.max(first[2] - now, 0) or -1
end

-- Whoever goes to rest is woken with those whose heartbeats are known.
local function be_known(instance) call('ZADD', base .. 'instances', 'NX', whole(now), instance) end
