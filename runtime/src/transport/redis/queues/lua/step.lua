-- ARGV: consumer, channel of the only part; settlements. It runs behind an XREADGROUP of the part's `new` stream, on one connection.
-- Answers {what counted, now, milliseconds until the next task is due or -1, 1 the queue is paused or 0, 1 the next take must look further than into
-- `new` or 0, 1 somebody watches or 0, 1 `quick` would mostly do nothing or 0}.
owner = ARGV[1]
local settled = settle(3)
if has[PAUSED] then be_known(owner) end
local next_due = bring_due()
local further = call('XLEN', base .. 'back:' .. ARGV[2]) > 0 and 1 or 0

-- Where results have to leave soon, each step removes some.
local function is_nearly_full()
    if not kept then return false end
    return 1.02 * kept.listed + 100 > kept.count or 1.02 * kept.held > kept.bytes or now - kept.oldest + 10000 > kept.millis
end
local has_more = (next(has) or is_nearly_full()) and 1 or 0
return cmsgpack.pack({settled, now, next_due, has[PAUSED] and 1 or 0, further, has[WATCHED] and 1 or 0, has_more})
