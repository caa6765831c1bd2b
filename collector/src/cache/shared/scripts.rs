//! What runs in Redis as one step.

/// Raises the number of invalidations, stamps the tags with it, and tells everybody.
/// Keys: number, stamps. Arguments: life of stamps in milliseconds, channel, message.
pub(super) const INVALIDATE: &str = "\
local n = redis.call('INCR', KEYS[1])
for i = 2, #KEYS do redis.call('SET', KEYS[i], n, 'PX', ARGV[1]) end
redis.call('PUBLISH', ARGV[2], n .. ' ' .. ARGV[3])
return n";

/// Takes the lease unless another collector has it; gives 1 when it was taken.
/// Keys: lease. Arguments: what this collector's tickets begin with, ticket, life of the lease in milliseconds.
pub(super) const LEASE: &str = "\
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// Ends a lease when it is that of the ticket. Keys: lease. Arguments: ticket.
pub(super) const GIVE_BACK: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";
