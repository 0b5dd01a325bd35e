//! What belongs to a zone: how many connections it has and may have, and its timeout policy.
//!
//! Law: a connection is counted in its zone from its beginning to its end, whether a limit is set
//! or not, so a limit set later counts right at once. A zone's own limit of 0 permits none; the
//! default of 0 permits any number.
//!
//! Threads: any; a connection that begins changes one word of its zone.
//!
//! Cost: zones are made 256 at a time, some eight kilobytes, when the first of them is used.
//!
//! Spec: `ovs-appctl dpctl/ct-set-limits` of Open vSwitch, whose userspace tracker takes limits so.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::timeouts::{Policy, Timeout, Timeouts};
use crate::tick::Tick;

/// Zones made at once.
const PAGE: usize = 256;

/// Stands for a zone without a limit of its own. Above what a limit can be.
const DEFAULT: u64 = u64::MAX;

const RELAXED: Ordering = Ordering::Relaxed;

/// The limit of a zone, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: u16,
    /// Connections it may have: its own limit, or the default one. 0 as the default is no limit.
    pub limit: u32,
    /// Whether the limit is the zone's own.
    pub own: bool,
    /// Connections it has.
    pub count: u32,
}

#[derive(Debug)]
struct Zone {
    limit: AtomicU64,
    count: AtomicU32,
    has_policy: AtomicBool,
    policy: OnceLock<Box<Policy>>,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            limit: AtomicU64::new(DEFAULT),
            count: AtomicU32::new(0),
            has_policy: AtomicBool::new(false),
            policy: OnceLock::new(),
        }
    }
}

/// All zones.
#[derive(Debug)]
pub(super) struct Zones {
    pages: Box<[OnceLock<Box<[Zone]>>]>,
    limit: AtomicU32,
    policy: Policy,
    /// Whether a zone ever had a policy of its own: without one no zone is looked at for it.
    policies: AtomicBool,
}

impl Default for Zones {
    fn default() -> Self {
        Self {
            pages: (0..=usize::from(u16::MAX) / PAGE)
                .map(|_| OnceLock::new())
                .collect(),
            limit: AtomicU32::new(0),
            policy: Policy::new(&Timeouts::default()),
            policies: AtomicBool::new(false),
        }
    }
}

impl Zones {
    fn zone(&self, zone: u16) -> Option<&Zone> {
        let zone = usize::from(zone);
        self.pages.get(zone / PAGE)?.get()?.get(zone % PAGE)
    }

    fn made(&self, zone: u16) -> Option<&Zone> {
        let zone = usize::from(zone);
        let page = self.pages.get(zone / PAGE)?;
        page.get_or_init(|| (0..PAGE).map(|_| Zone::default()).collect())
            .get(zone % PAGE)
    }

    /// Counts a connection in; false when the zone has as many as it may.
    pub(super) fn enter(&self, zone: u16) -> bool {
        let Some(zone) = self.made(zone) else {
            return false;
        };
        let limit = match zone.limit.load(RELAXED) {
            DEFAULT => match self.limit.load(RELAXED) {
                0 => DEFAULT,
                limit => limit.into(),
            },
            limit => limit,
        };
        zone.count
            .fetch_update(RELAXED, RELAXED, |count| {
                (u64::from(count) < limit).then_some(count.saturating_add(1))
            })
            .is_ok()
    }

    /// Counts a connection out that was counted in.
    pub(super) fn leave(&self, zone: u16) {
        if let Some(zone) = self.zone(zone) {
            zone.count.fetch_sub(1, RELAXED);
        }
    }

    /// Sets the limit of a zone, or with `None` takes it away.
    pub(super) fn set_limit(&self, zone: u16, limit: Option<u32>) {
        if let Some(zone) = self.made(zone) {
            zone.limit.store(limit.map_or(DEFAULT, u64::from), RELAXED);
        }
    }

    pub(super) fn default_limit(&self) -> u32 {
        self.limit.load(RELAXED)
    }

    pub(super) fn set_default_limit(&self, limit: u32) {
        self.limit.store(limit, RELAXED);
    }

    pub(super) fn limit(&self, zone: u16) -> ZoneLimit {
        let made = self.zone(zone);
        let limit = made.map_or(DEFAULT, |zone| zone.limit.load(RELAXED));
        ZoneLimit {
            zone,
            limit: u32::try_from(limit).unwrap_or(self.default_limit()),
            own: limit != DEFAULT,
            count: made.map_or(0, |zone| zone.count.load(RELAXED)),
        }
    }

    /// Zones that have a limit of their own, or connections while there is a default limit.
    pub(super) fn limits(&self) -> Vec<ZoneLimit> {
        let default = self.default_limit() > 0;
        (0..=u16::MAX)
            .filter(|zone| self.zone(*zone).is_some())
            .map(|zone| self.limit(zone))
            .filter(|limit| limit.own || default && limit.count > 0)
            .collect()
    }

    /// Sets the policy of a zone, or with `None` takes it away.
    pub(super) fn set_timeouts(&self, zone: u16, timeouts: Option<&Timeouts>) {
        let Some(zone) = self.made(zone) else { return };
        if let Some(timeouts) = timeouts {
            zone.policy
                .get_or_init(|| Box::new(Policy::new(timeouts)))
                .set(timeouts);
            self.policies.store(true, RELAXED);
        }
        zone.has_policy.store(timeouts.is_some(), Ordering::Release);
    }

    pub(super) fn set_default_timeouts(&self, timeouts: &Timeouts) {
        self.policy.set(timeouts);
    }

    #[inline]
    fn policy(&self, zone: u16) -> &Policy {
        if self.policies.load(RELAXED)
            && let Some(zone) = self.zone(zone)
            && zone.has_policy.load(Ordering::Acquire)
            && let Some(policy) = zone.policy.get()
        {
            return policy;
        }
        &self.policy
    }

    /// The timeouts of a zone.
    pub(super) fn timeouts(&self, zone: u16) -> Timeouts {
        self.policy(zone).timeouts()
    }

    /// When a connection of a zone expires that waits from `now`.
    #[inline]
    pub(super) fn after(&self, zone: u16, now: Tick, timeout: Timeout) -> Tick {
        self.policy(zone).after(now, timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_takes_as_many_as_it_may() {
        let zones = Zones::default();
        assert!((0..5).all(|_| zones.enter(7)), "no limit");
        zones.set_limit(7, Some(6));
        assert_eq!((zones.enter(7), zones.enter(7)), (true, false));
        zones.leave(7);
        assert_eq!((zones.enter(7), zones.enter(7)), (true, false));
        let seven = ZoneLimit {
            zone: 7,
            limit: 6,
            own: true,
            count: 6,
        };
        assert_eq!(zones.limit(7), seven);
        zones.set_limit(9, Some(0));
        assert!(!zones.enter(9), "a limit of 0 permits none");
        assert_eq!(zones.limits().len(), 2);

        zones.set_default_limit(1);
        assert!(zones.enter(u16::MAX) && !zones.enter(u16::MAX));
        let all: Vec<_> = zones
            .limits()
            .iter()
            .map(|zone| (zone.zone, zone.limit))
            .collect();
        assert_eq!(all, [(7, 6), (9, 0), (u16::MAX, 1)]);
        zones.set_limit(7, None);
        assert!(!zones.enter(7), "the default holds for it now");
        zones.set_default_limit(0);
        assert!(zones.enter(7) && zones.limits().len() == 1);
    }

    #[test]
    fn a_zone_may_have_its_own_timeouts() {
        let zones = Zones::default();
        let after = |zone| zones.after(zone, Tick(0), Timeout::OtherFirst).0;
        let short = Timeouts::default().with(Timeout::OtherFirst, 3);
        zones.set_timeouts(5, Some(&short));
        assert_eq!((after(5), after(4), after(60_000)), (3000, 60_000, 60_000));
        zones.set_timeouts(5, None);
        assert_eq!(after(5), 60_000);
        zones.set_default_timeouts(&short);
        assert_eq!((after(5), zones.timeouts(4)), (3000, short));
    }
}
