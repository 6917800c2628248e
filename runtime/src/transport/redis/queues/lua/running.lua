-- ARGV: limit, channels. Answers {part, id, instance, idle, how long it has it, …}.
local left, found = tonumber(ARGV[1]), {}

local function look(part, kind)
    local stream = base .. kind .. ARGV[1 + part]
    if left <= 0 then return end
    -- Nobody has taken anything of a queue that nobody has served.
    for _, pending in ipairs(redis.pcall('XPENDING', stream, GROUP, '-', '+', left)) do
        local entry = entry_at(stream, pending[1])
        if entry then
            left = left - 1
            local id = field(entry[2], 'id') or pending[1]
            for _, value in ipairs({part - 1, id, pending[2], pending[3], math.max(now - taken_at(pending), 0)}) do found[#found + 1] = value end
        end
    end
end

for part = 1, #ARGV - 1 do
    look(part, 'back:')
    look(part, 'new:')
end
return cmsgpack.pack(found)
