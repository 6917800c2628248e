-- ARGV: 'replay' or 'delete', entries of dead letters. Answers how many there were.
local OURS = {channel = true, reason = true, instance = true, once = true, record = true, unique = true, expires_at = true}
local mended, freed = 0, 0

-- It begins afresh but for its token: its deduplication key was freed when it died, and whoever replays it wants it run.
local function replay(fields)
    local has, record = pcall(cjson.decode, field(fields, 'record') or '{}')
    local owners = has and type(record) == 'table' and tonumber(record.owners) or 0
    local moved = {'record', '{"owners":' .. whole(owners) .. '}'}
    for at = 1, #fields, 2 do
        if not OURS[fields[at]] then
            moved[#moved + 1] = fields[at]
            moved[#moved + 1] = fields[at + 1]
        end
    end
    call('XADD', base .. 'back:' .. field(fields, 'channel'), '*', unpack(moved))
end

for at = 2, #ARGV do
    local letter = entry_at(base .. 'dead', ARGV[at])
    if letter and call('XDEL', base .. 'dead', letter[1]) == 1 then
        local once = field(letter[2], 'once')
        if once then call('DEL', base .. 'once:' .. once) end
        local id = field(letter[2], 'id') or letter[1]
        call('HDEL', base .. 'index', id)
        if ARGV[1] == 'replay' then
            forget_result(id)
            replay(letter[2])
        end
        mended, freed = mended + 1, freed + #(field(letter[2], 'payload') or '')
    end
end
if freed > 0 then count(base, 'dead_bytes', -freed) end
return mended
