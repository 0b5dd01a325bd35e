//! Cores: which there are and how a thread is kept on one.

/// The cores that this process may run on, by number.
#[must_use]
pub fn cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter().map(|id| id.id).collect()
}

/// Keeps the calling thread on `core`. False when it is none of [`cores`] or the kernel refuses.
#[must_use]
pub fn pin(core: usize) -> bool {
    // The crate panics at numbers beyond its set of 1024.
    cores().contains(&core) && core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_is_pinned_to_a_core_that_exists_and_to_no_other() {
        let first = *super::cores().first().expect("a process runs somewhere");
        let pinned = std::thread::spawn(move || (super::pin(first), super::pin(100_000)));
        assert_eq!(pinned.join().expect("no panic"), (true, false));
    }
}
