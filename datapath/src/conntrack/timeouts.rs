//! How long a connection lives after its last packet.
//!
//! Law: a connection expires that many seconds after its last valid packet, by the state the
//! packet left it in and by the policy that its zone has at that moment.
//!
//! Spec: the attributes of a timeout policy in `ovs-vswitchd.conf.db(5)`, table `CT_Timeout_Policy`;
//! the defaults are those of Open vSwitch's userspace tracker (`lib/conntrack-tp.c`).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::tick::Tick;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// TCP: `tcp_syn_sent`, only one end was seen.
    SynSent,
    /// TCP: `tcp_syn_recv`, the handshake is not over.
    SynRecv,
    /// TCP: `tcp_established`.
    Established,
    /// TCP: `tcp_fin_wait`, one end has closed.
    FinWait,
    /// TCP: `tcp_time_wait`, both ends have closed, not all of it acknowledged.
    TimeWait,
    /// TCP: `tcp_close`, closed and acknowledged, or reset.
    Close,
    /// All but TCP and ICMP: `udp_first`, after the first packet.
    OtherFirst,
    /// All but TCP and ICMP: `udp_single`, several packets one way.
    OtherSingle,
    /// All but TCP and ICMP: `udp_multiple`, packets both ways.
    OtherMultiple,
    /// ICMP queries: `icmp_first`, no answer yet.
    IcmpFirst,
    /// ICMP queries: `icmp_reply`.
    IcmpReply,
}

impl Timeout {
    /// All of them, in the order in which [`Timeouts`] has their seconds.
    pub const ALL: [Self; 11] = [
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::TimeWait,
        Self::Close,
        Self::OtherFirst,
        Self::OtherSingle,
        Self::OtherMultiple,
        Self::IcmpFirst,
        Self::IcmpReply,
    ];

    /// The key in a timeout policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "tcp_syn_sent",
            Self::SynRecv => "tcp_syn_recv",
            Self::Established => "tcp_established",
            Self::FinWait => "tcp_fin_wait",
            Self::TimeWait => "tcp_time_wait",
            Self::Close => "tcp_close",
            Self::OtherFirst => "udp_first",
            Self::OtherSingle => "udp_single",
            Self::OtherMultiple => "udp_multiple",
            Self::IcmpFirst => "icmp_first",
            Self::IcmpReply => "icmp_reply",
        }
    }
}

/// A timeout policy: seconds for each of [`Timeout::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts(pub [u32; 11]);

impl Default for Timeouts {
    fn default() -> Self {
        Self([30, 30, 24 * 60 * 60, 15 * 60, 45, 30, 60, 60, 30, 60, 30])
    }
}

impl Timeouts {
    /// With other seconds for one of them.
    #[must_use]
    pub const fn with(mut self, timeout: Timeout, seconds: u32) -> Self {
        self.0[timeout as usize] = seconds;
        self
    }
}

/// A policy that is read while it changes.
#[derive(Debug)]
pub(super) struct Policy([AtomicU32; 11]);

impl Policy {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        Self(timeouts.0.map(AtomicU32::new))
    }

    pub(super) fn set(&self, timeouts: &Timeouts) {
        for (to, from) in self.0.iter().zip(timeouts.0) {
            to.store(from, Ordering::Relaxed);
        }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts(std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed)))
    }

    /// When a connection expires that waits from `now`.
    #[inline]
    pub(super) fn after(&self, now: Tick, timeout: Timeout) -> Tick {
        let seconds = self.0[timeout as usize].load(Ordering::Relaxed);
        Tick(now.0.saturating_add(u64::from(seconds) * 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timeout_has_its_seconds() {
        let policy = Policy::new(&Timeouts::default());
        let after = |timeout| policy.after(Tick(5), timeout).0;
        assert_eq!(after(Timeout::Established), 86_400_005);
        assert_eq!(after(Timeout::OtherMultiple), 30_005);
        for (i, timeout) in Timeout::ALL.into_iter().enumerate() {
            assert_eq!(timeout as usize, i, "{}", timeout.name());
        }
        let other = Timeouts::default().with(Timeout::IcmpFirst, 3);
        policy.set(&other);
        assert_eq!(policy.timeouts(), other);
        assert_eq!(policy.after(Tick(5), Timeout::IcmpFirst), Tick(3005));
    }
}
