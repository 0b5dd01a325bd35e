//! Giving privileges up.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Gives up every capability of the calling thread, for good. Threads that it starts later have
/// none either; call it before there are others.
///
/// # Errors
/// What `prctl(2)` or `capset(2)` answer.
pub fn drop_all() -> io::Result<()> {
    // Without this, executing a file could bring capabilities back.
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_without_capabilities_has_none_and_gets_none_back() {
        let after = std::thread::spawn(|| {
            super::drop_all().expect("privileges can always be given up");
            rustix::thread::capabilities(None).expect("own capabilities are readable")
        });
        let sets = after.join().expect("no panic");
        assert!(sets.effective.is_empty() && sets.permitted.is_empty());
    }
}
