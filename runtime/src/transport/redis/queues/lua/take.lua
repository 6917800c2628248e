-- ARGV: consumer, 'once' or '', entries of `wake` to acknowledge with spaces between them, how many, then further ones: from so many parts, and how many; the
-- number of parts, of each its channel and quota; settlements.
-- Answers {what counted, now, milliseconds until the next task is due or -1, {part, 1 came back or 0, entries, …}, 1 the queue is paused or 0}.
local consumer, order = ARGV[1], tonumber(ARGV[7])
owner = consumer
local settled = settle(8 + 2 * order)

for entry in string.gmatch(ARGV[3], '%S+') do
    call('XACK', base .. 'wake', GROUP, entry)
    call('XDEL', base .. 'wake', entry)
end

local next_due = bring_due()

local taken, empty = {}, {}

-- Takes from one part, what came back first; how many.
local function draw(part, most)
    local before = most
    for back = 1, 0, -1 do
        local slot = 2 * part + back
        if most > 0 and not empty[slot] then
            local stream = base .. (back == 1 and 'back:' or 'new:') .. ARGV[6 + 2 * part]
            local got = call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', most, 'STREAMS', stream, '>')
            local entries = got and got[1][2] or {}
            empty[slot] = #entries < most
            if #entries > 0 then
                most = most - #entries
                taken[#taken + 1] = part - 1
                taken[#taken + 1] = back
                taken[#taken + 1] = entries
            end
        end
    end
    return before - most
end

local want, further = tonumber(ARGV[4]), tonumber(ARGV[6])
if has[PAUSED] then
    want, further = 0, 0
    be_known(consumer)
end
for part = 1, order do want = want - draw(part, math.min(want, tonumber(ARGV[7 + 2 * part]))) end
for part = 1, order do want = want - draw(part, want) end
for part = 1, tonumber(ARGV[5]) do further = further - draw(part, further) end

if has[WATCHED] or ARGV[2] == 'once' then
    for at = 1, #taken, 3 do
        local channel = ARGV[8 + 2 * taken[at]]
        local stream, ids = base .. (taken[at + 1] == 1 and 'back:' or 'new:') .. channel, {}
        for _, entry in ipairs(taken[at + 2]) do
            local id = field(entry[2], 'id') or entry[1]
            ids[#ids + 1] = id
            tell('taken', id, channel)
            if ARGV[2] == 'once' then
                call('XACK', stream, GROUP, entry[1])
                call('XDEL', stream, entry[1])
                end_key(base, field(entry[2], 'unique'), id, 'completed')
                count(base, 'completed', 1)
                tell('completed', id, channel)
            end
        end
        if ARGV[2] == 'once' and next(has) then leave(ids) end
    end
end
return cmsgpack.pack({settled, now, next_due, taken, has[PAUSED] and 1 or 0})
