-- ARGV: instance, then of each task stream, entry, id, progress, and 1 where it may have been noted before, else the empty text. Answers a text of one digit each: 0 the instance does not have it any more.
owner = ARGV[1]
local noted = {}
for at = 2, #ARGV, 5 do
    local stream, entry, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local key = base .. stream
    local is_own = #call('XPENDING', key, GROUP, entry, entry, 1, owner) > 0 and entry_at(key, entry)
    if is_own then
        local reported, is_same = note_progress(id, ARGV[at + 3])
        if reported and not (is_same and ARGV[at + 4] == '1') then
            local fraction, text = unpack(reported, 1, 2)
            tell('progress', id, channel_of(stream), {fraction = tonumber(fraction), text = text ~= '' and text or nil})
        end
    end
    noted[#noted + 1] = is_own and '1' or '0'
end
if unpublished > 0 then noted[#noted + 1] = ' ' .. unpublished end
return table.concat(noted)
