//! Giving privileges up.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// Gives up every capability of the calling thread, for good, except `CAP_IPC_LOCK` where it has
/// that: packet memory that the kernel writes into is pinned, and counts against the memlock limit
/// otherwise. Threads that it starts later have no more than that either; call it before there are
/// others.
///
/// # Errors
/// What `prctl(2)` or `capset(2)` answer.
pub fn drop_all() -> io::Result<()> {
    // Without this, executing a file could bring capabilities back.
    set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted & CapabilitySet::IPC_LOCK;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_gone_and_the_right_to_pin_memory_stays() {
        let after = std::thread::spawn(|| {
            drop_all().expect("privileges can always be given up");
            capabilities(None).expect("own capabilities are readable")
        });
        let sets = after.join().expect("no panic");
        let kept = CapabilitySet::IPC_LOCK;
        assert!(kept.contains(sets.effective) && kept.contains(sets.permitted));
    }
}
