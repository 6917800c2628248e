-- ARGV: 'pause' or 'resume'. Answers whether it was paused before. Every reader that is blocked is woken.
local paused, wake = base .. 'paused', base .. 'wake'
local was = call('EXISTS', paused)
if ARGV[1] == 'pause' then call('SET', paused, whole(now)) else call('DEL', paused) end
local instances = call('ZCARD', base .. 'instances')
for _ = 1, instances do call('XADD', wake, 'NOMKSTREAM', 'MAXLEN', instances, '*', ARGV[1], '') end
return was
