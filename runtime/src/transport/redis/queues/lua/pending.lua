-- ARGV: instance, channels. Answers {tombstones, {part, 1 came back or 0, {id, fields}, …}}.
local found, lost = {}, 0

local function look(part, back)
    local stream = base .. (back == 1 and 'back:' or 'new:') .. ARGV[1 + part]
    for _, pending in ipairs(call('XPENDING', stream, GROUP, '-', '+', 1000, ARGV[1])) do
        local entry = entry_at(stream, pending[1])
        if entry then
            found[#found + 1] = part - 1
            found[#found + 1] = back
            found[#found + 1] = entry
        else
            lost = lost + call('XACK', stream, GROUP, pending[1])
        end
    end
end

for part = 1, #ARGV - 1 do
    look(part, 1)
    look(part, 0)
end
if lost > 0 then count(base, 'lost', lost) end
return cmsgpack.pack({lost, found})
