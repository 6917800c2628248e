-- Answers {instance, silent since milliseconds, about, …}.
local found = {}
local beats = call('ZRANGE', base .. 'instances', 0, -1, 'WITHSCORES')
for at = 1, #beats, 2 do
    found[#found + 1] = beats[at]
    found[#found + 1] = math.max(now - beats[at + 1], 0)
    found[#found + 1] = call('HGET', base .. 'about', beats[at]) or ''
end
return cmsgpack.pack(found)
