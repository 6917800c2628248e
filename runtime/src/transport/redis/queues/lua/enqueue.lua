-- KEYS are the bases of the queues. ARGV: 'atomic' or 'each'; how many messages are published with the tasks, and of each its channel and payload; of
-- each task the number of its base and the values of `add`. Answers, for each task: 0 it was added, 1 the queue is full, 2 another one was refused,
-- {id, state} it was there; and how many received each message, unless a task was refused.
local STEP, MESSAGES = TASK + 1, tonumber(ARGV[2])
local FIRST = 3 + 2 * MESSAGES

-- How many tasks wait in the queue, delayed ones among them.
local function waiting(of, most)
    local all, streams = call('ZCARD', of .. 'due'), {}
    for _, channel in ipairs(call('SMEMBERS', of .. 'parts')) do
        for _, kind in ipairs({'back:', 'new:'}) do
            local stream = of .. kind .. channel
            all = all + call('XLEN', stream)
            streams[#streams + 1] = stream
        end
    end
    if all < most then return all end
    for _, stream in ipairs(streams) do
        -- An error, where there is no group yet, has no such element.
        all = all - (redis.pcall('XPENDING', stream, GROUP)[1] or 0)
    end
    return all
end

local room = {}

local function has_room(of, at)
    local most = tonumber(ARGV[at + 9])
    if not most then return true end
    call('SADD', of .. 'parts', ARGV[at])
    if room[of] and room[of] > 0 then return true end
    room[of] = most - waiting(of, most)
    return room[of] > 0
end

local function is_there(of, at) return ARGV[at + 7] ~= '' and holder(of, ARGV[at + 7]) ~= nil end

-- What the access rules refuse must be known before anything is done. The server says it of the command that it refuses.
for at = 3, FIRST - 1, 2 do
    if not redis.acl_check_cmd('PUBLISH', ARGV[at], '') then
        local refused = redis.pcall('PUBLISH', ARGV[at], '')
        local words = type(refused) == 'table' and refused.err or ''
        return redis.error_reply('UNPUBLISHABLE ' .. string.gsub(words, '^%u+ ', ''))
    end
end

local results = {}
if ARGV[1] == 'atomic' then
    local refused, needed = nil, {}
    for at = FIRST, #ARGV, STEP do
        local of, most = KEYS[tonumber(ARGV[at])], tonumber(ARGV[at + STEP - 1])
        results[#results + 1] = 2
        if most and not is_there(of, at + 1) then
            call('SADD', of .. 'parts', ARGV[at + 1])
            needed[of] = (needed[of] or waiting(of, 0)) + 1
            if needed[of] > most then
                refused = true
                results[#results] = 1
            end
        end
    end
    if refused then return cmsgpack.pack(results) end
    results = {}
end
for at = FIRST, #ARGV, STEP do
    local of, result = KEYS[tonumber(ARGV[at])], 0
    if ARGV[1] == 'atomic' or is_there(of, at + 1) or has_room(of, at + 1) then
        local id, state = add(of, at + 1)
        if id then result = {id, state} elseif room[of] then room[of] = room[of] - 1 end
    else
        result = 1
    end
    results[#results + 1] = result
end
for at = 3, FIRST - 1, 2 do results[#results + 1] = call('PUBLISH', ARGV[at], ARGV[at + 1]) end
return cmsgpack.pack(results)
