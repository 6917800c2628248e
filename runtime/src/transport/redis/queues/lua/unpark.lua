-- ARGV: cursor, name, version. Answers {the next cursor, how many}.
local page = call('HSCAN', base .. 'parked', ARGV[1], 'COUNT', 100)
local moved = 0
for at = 1, #page[2], 2 do
    local channel, fields = unpack(cmsgpack.unpack(page[2][at + 1]))
    local version = tonumber(field(fields, 'version') or 0) or 0
    if (field(fields, 'name') or ARGV[2]) == ARGV[2] and version <= tonumber(ARGV[3]) then
        call('HDEL', base .. 'parked', page[2][at])
        local back = 'back:' .. channel
        local entry = call('XADD', base .. back, '*', unpack(fields))
        move_key(base, field(fields, 'unique'), field(fields, 'id'), 'entry', back, entry)
        moved = moved + 1
    end
end
return {page[1], moved}
