-- ARGV: id, channels. Answers {} where there is no such task, {'more'} where it is to be asked again, or the task.
local id = ARGV[1]
local stream, entry, fields = seek(id, channels_from(2))
if not stream then return cmsgpack.pack({}) end
if stream == 'more' then return cmsgpack.pack({'more'}) end
if stream == 'held' then
    local due = tonumber(call('ZSCORE', base .. 'due', id) or now)
    return cmsgpack.pack(seen('delayed', entry, nil, fields, nil, due))
end
if stream == 'parked' then return cmsgpack.pack(seen('parked', entry, nil, fields)) end
if stream == 'dead' then return cmsgpack.pack(seen('dead', field(fields, 'channel') or '', entry, fields)) end
local its_owner = owner_of(stream, entry)
return cmsgpack.pack(seen(its_owner and 'running' or 'waiting', channel_of(stream), entry, fields, its_owner))
