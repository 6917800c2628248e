-- ARGV: key, token. Answers 'now', 'done' or 'before'.
local key = base .. 'once:' .. ARGV[1]
local state = call('GET', key)
if not state then
    call('SET', key, ARGV[2])
    return 'now'
end
return state == 'done' and 'done' or state == ARGV[2] and 'now' or 'before'
