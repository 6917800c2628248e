-- When an owner was given what is pending. A renewal begins the entry's time anew, so it keeps that in the count of deliveries, which nothing else
-- reads, and which is small until then.
local function taken_at(pending) return pending[4] > 1000000000 and pending[4] or now - pending[3] end

