-- ARGV: channel and payload of each message. Publishes all of them, and answers how many received each; or publishes none, and answers nothing,
-- where the access rules do not let the user do what a transaction would take, or the server cannot say that.
local function allows(...)
    local is_known, is_allowed = pcall(redis.acl_check_cmd, ...)
    return is_known and is_allowed
end

if not (allows('MULTI') and allows('EXEC')) then return false end
local allowed = {}
for at = 1, #ARGV, 2 do
    local channel = ARGV[at]
    if not (allowed[channel] or allows('PUBLISH', channel, '')) then return false end
    allowed[channel] = true
end

local receivers = {}
for at = 1, #ARGV, 2 do receivers[#receivers + 1] = redis.call('PUBLISH', ARGV[at], ARGV[at + 1]) end
return receivers
