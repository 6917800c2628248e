-- ARGV: lease, the instance that leaves or '', channels. Answers how many dead letters or results were trimmed.
local SILENT = 10
local leaving = ARGV[2]
local instances, about = base .. 'instances', base .. 'about'
local has_tasks = {}

local function is_gone(name, idle)
    if name == leaving then return true end
    local beat = call('ZSCORE', instances, name)
    local silent = SILENT * lease_of(name)
    return idle > silent and (not beat or now - beat > silent)
end

if leaving ~= '' then
    call('ZREM', instances, leaving)
    call('HDEL', about, leaving)
end

local function remove_from(stream)
    local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, GROUP)
    for _, consumer in ipairs(consumers) do
        -- name n pending n idle n …
        local name, pending, idle = consumer[2], consumer[4], consumer[6]
        -- Deleting one with tasks would lose them; what wakes readers is no task.
        if pending > 0 and stream ~= base .. 'wake' then
            has_tasks[name] = true
        elseif is_gone(name, idle) then
            call('XGROUP', 'DELCONSUMER', stream, GROUP, name)
        end
    end
end

for part = 3, #ARGV do
    remove_from(base .. 'back:' .. ARGV[part])
    remove_from(base .. 'new:' .. ARGV[part])
end
remove_from(base .. 'wake')
local silent = call('ZRANGEBYSCORE', instances, '-inf', whole(now - SILENT * lease), 'WITHSCORES', 'LIMIT', 0, 100)
for at = 1, #silent, 2 do
    local name, beat = silent[at], silent[at + 1]
    if not has_tasks[name] and now - beat >= SILENT * lease_of(name) then
        call('ZREM', instances, name)
        call('HDEL', about, name)
    end
end

-- The index is made anew from time to time: other programs may have removed tasks that it knows.
local ANEW, UNUSED = 3600000, 600000
local made = tonumber(call('HGET', SEEN, 'made') or now)
if now - made > ANEW or now - tonumber(call('HGET', SEEN, 'used') or made) > UNUSED then call('UNLINK', INDEX, SEEN) end
if has[ASKERS] then sweep_askers() end
-- Whoever had begun a handler that runs once, and lost its task, has not said so.
local begun = call('HSCAN', BEGUN, call('HGET', base .. 'counts', 'begun_cursor') or '0', 'COUNT', 100)
for at = 1, #begun[2], 2 do
    local noted = call('GET', base .. 'once:' .. cmsgpack.unpack(begun[2][at + 1])[1])
    local held = noted and cmsgpack.unpack(noted)
    if not held or held[1] ~= 'begun' or held[2] ~= begun[2][at] then call('HDEL', BEGUN, begun[2][at]) end
end
if begun[1] == '0' then call('HDEL', base .. 'counts', 'begun_cursor') else call('HSET', base .. 'counts', 'begun_cursor', begun[1]) end
return math.max(trim_dead(1000), results_kept() and trim_results(1000) or 0)
