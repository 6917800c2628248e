-- KEYS[1] is what all keys of the queue begin with; the others are made of it, and are in its slot. Time is the server's, in milliseconds.
local base, GROUP, call = KEYS[1], 'tidings', redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function whole(number) return string.format('%.0f', number) end

local function count(of, what, by) call('HINCRBY', of .. 'counts', what, by) end

-- The value of a field of an entry.
local function field(fields, name)
    for at = 1, #fields, 2 do
        if fields[at] == name then return fields[at + 1] end
    end
end

local function entry_at(stream, entry) return call('XRANGE', stream, entry, entry)[1] end

-- The channel of a stream's part: `back:` or `new:` stands before it.
local function channel_of(stream) return string.sub(stream, string.find(stream, ':', 1, true) + 1) end
