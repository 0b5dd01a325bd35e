//! Versions of what decisions rest on, and a decision's note of one.
//!
//! Law: whoever holds a table changes it first and calls [`Versions::changed`] before anybody else can
//! read the table; whoever decides takes its [`Dep`] before it reads. Then a decision whose `Dep`s are
//! all valid is the decision that would be taken now.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Buckets with a version of their own. At 8,192 addresses two share one, so a new address makes
/// few decisions be taken again.
pub const BUCKETS: usize = 4096;

/// The versions of all buckets, shared with the decisions that depend on them.
#[derive(Clone)]
pub struct Versions(Arc<[AtomicU32; BUCKETS]>);

impl Default for Versions {
    fn default() -> Self {
        Self(Arc::new([const { AtomicU32::new(0) }; BUCKETS]))
    }
}

impl Versions {
    /// What a decision rests on that is about to look into a bucket.
    #[must_use]
    pub fn dep(&self, bucket: usize) -> Dep {
        let bucket = bucket % BUCKETS;
        Dep {
            versions: self.clone(),
            bucket: bucket as u16,
            version: self.0[bucket].load(Ordering::Acquire),
        }
    }

    /// Decisions that rest on a bucket are void.
    pub fn changed(&self, bucket: usize) {
        self.0[bucket % BUCKETS].fetch_add(1, Ordering::Release);
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Versions")
    }
}

/// Something a decision rests on: a bucket as it was when the decision began.
#[derive(Clone)]
pub struct Dep {
    versions: Versions,
    bucket: u16,
    version: u32,
}

impl Dep {
    /// Whether nothing in the bucket has changed since.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        // Acquire pairs with the release in `Versions::changed`.
        self.versions.0[usize::from(self.bucket) % BUCKETS].load(Ordering::Acquire) == self.version
    }

    fn same_bucket(&self, other: &Self) -> bool {
        self.bucket == other.bucket && Arc::ptr_eq(&self.versions.0, &other.versions.0)
    }
}

impl fmt::Debug for Dep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dep({} at {})", self.bucket, self.version)
    }
}

/// Buckets that one cached decision may rest on: source and destination on two bridges, and neighbours
/// of two routers between them.
pub const DEPS_LEN: usize = 6;

/// All that a decision rests on.
#[derive(Clone, Debug, Default)]
pub struct FdbDeps {
    deps: arrayvec::ArrayVec<Dep, DEPS_LEN>,
}

impl FdbDeps {
    /// Whether all lookups would still find what they found.
    #[inline]
    #[must_use]
    pub fn valid(&self) -> bool {
        self.deps.iter().all(Dep::valid)
    }

    /// Adds one. False when there is no room: the decision may then not be cached.
    #[must_use]
    pub fn add(&mut self, dep: Dep) -> bool {
        // The earlier version of two is the one that must still hold.
        self.deps.iter().any(|d| d.same_bucket(&dep)) || self.deps.try_push(dep).is_ok()
    }
}
