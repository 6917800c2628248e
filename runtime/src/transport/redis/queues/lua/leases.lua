-- How long instances hold their tasks. ARGV[1] is the lease of whoever looks, which another version of the program may have changed.
local lease, leases = tonumber(ARGV[1]), {}

-- As long as the instance says, where that is longer.
local function lease_of(instance)
    if not leases[instance] then
        local is_read, about = pcall(cjson.decode, call('HGET', base .. 'about', instance) or '')
        local own = is_read and type(about) == 'table' and tonumber(about.lease_millis) or 0
        leases[instance] = math.max(lease, own)
    end
    return leases[instance]
end

-- Of what XPENDING says of an entry.
local function is_over(pending) return pending[3] > lease_of(pending[2]) end
