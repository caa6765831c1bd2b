//! What runs in Redis as one step.
//!
//! Every tag that a value may have gets its stamp before loading begins, and a value counts only when all of its stamps are there. So a stamp that Redis evicts takes the values with it
//! that it invalidated: it comes back with the number of that time, which is above theirs unless nothing at all was invalidated since.

/// Gets the number of invalidations, `n`. It begins with the time in microseconds: one that begins anew, because Redis was emptied or short of memory, is above all that were before.
macro_rules! count {
    () => {
        "\
local n = redis.call('GET', KEYS[1])
if not n then
  local time = redis.call('TIME')
  n = time[1] .. string.format('%06d', time[2])
  redis.call('SET', KEYS[1], n)
end
"
    };
}

/// Raises the number of invalidations, stamps the tags with it, and tells everybody.
/// Keys: number, stamps. Arguments: life of stamps in milliseconds, channel, message.
pub(super) const INVALIDATE: &str = concat!(
    count!(),
    "\
redis.call('INCR', KEYS[1])
n = redis.call('GET', KEYS[1])
for i = 2, #KEYS do redis.call('SET', KEYS[i], n, 'PX', ARGV[1]) end
redis.call('PUBLISH', ARGV[2], n .. ' ' .. ARGV[3])
return n"
);

/// Takes the lease unless another collector has it, and sees to it that all stamps are there. Gives the number of invalidations, and 1 when the lease was taken.
/// Keys: number, lease, stamps. Arguments: life of stamps in milliseconds, what this collector's tickets begin with, ticket, life of the lease in milliseconds.
pub(super) const LEASE: &str = concat!(
    count!(),
    "\
for i = 3, #KEYS do redis.call('SET', KEYS[i], n, 'NX', 'PX', ARGV[1]) end
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[2]) ~= ARGV[2] then return {n, 0} end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return {n, 1}"
);

/// Ends a lease when it is that of the ticket. Keys: lease. Arguments: ticket.
pub(super) const GIVE_BACK: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";
