//! Meters: packets beyond a rate are dropped or marked.
//!
//! Law: each band is a token bucket that begins full, is filled at the band's rate and is drained
//! by every packet that finds enough in it. A packet for which there is not enough has exceeded the
//! band; of the bands that it has exceeded the one with the highest rate is applied to it, and only
//! there it is counted.
//!
//! A bucket is one number: the moment at which it would be full again, as in the virtual scheduling
//! algorithm of ITU-T I.371, which is the same arithmetic. Several workers take from one bucket by
//! compare-and-swap, so a rate holds for all of them together and no packet waits for a lock. Time
//! is handed in, once for a batch.
//!
//! Cost: a division-free addition for each band and packet. Spec: OpenFlow 1.3.5 §5.7; default
//! burst as in `dpif_netdev_meter_set` of Open vSwitch: what passes in one second.

use std::sync::atomic::{AtomicU64, Ordering};

use vswitch_flow::meter::MeterFlags;
use vswitch_flow::{BandKind, Meter};

use super::shelf::Users;
use crate::tick::Tick;

/// Most meters of a bridge (`MAX_METERS` of Open vSwitch's userspace datapath).
pub const METERS_MAX: usize = 65_536;

/// Parts of a nanosecond that buckets count in: a byte at 100 Gb/s takes 1.28, and 64 bits last for
/// 36 years.
const PARTS: u64 = 16;
const SECOND: u64 = 1_000_000_000 * PARTS;

/// A moment, for meters: nanoseconds since the datapath began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The same in the units that connections and flows are timed in.
    #[inline]
    #[must_use]
    pub const fn tick(self) -> Tick {
        Tick(self.0 / 1_000_000)
    }
}

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is dropped.
    Drop,
    /// It goes on with its drop precedence raised by so many levels.
    Remark(u8),
}

#[derive(Debug)]
struct Bucket {
    /// Parts that a thousandth of a packet, or a bit, takes, times [`SCALE`]; `None` lets nothing
    /// pass.
    cost: Option<u128>,
    /// Parts until an empty bucket is full.
    depth: u64,
    /// When it is full again, in parts.
    full_at: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Binary places of a cost that is not a whole number of parts.
const SCALE: u32 = 32;

/// A meter in force.
#[derive(Debug)]
pub struct MeterEntry {
    meter: Meter,
    created: Tick,
    users: Users,
    packets: AtomicU64,
    bytes: AtomicU64,
    /// The band at this place in `meter`, highest rate first.
    order: Box<[usize]>,
    /// In the order of the meter's bands.
    buckets: Box<[Bucket]>,
}

impl Bucket {
    fn new(rate: u32, burst: u32, in_packets: bool) -> Self {
        let burst = if burst == 0 { rate } else { burst };
        // The unit is a packet or a bit; a rate in kilobits is a thousand bits.
        let unit = if in_packets { 1 } else { 1000 };
        let rate = u128::from(rate) * unit;
        let second = u128::from(SECOND) << SCALE;
        let cost = second.checked_div(rate);
        let depth = (cost.unwrap_or_default() * u128::from(burst) * unit) >> SCALE;
        Self {
            cost,
            depth: u64::try_from(depth)
                .unwrap_or(u64::MAX / 4)
                .min(u64::MAX / 4),
            full_at: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Takes `units` out; false when there are not so many.
    fn take(&self, units: u64, now: u64) -> bool {
        let Some(cost) = self.cost else {
            return false;
        };
        let cost = u64::try_from((cost * u128::from(units)) >> SCALE).unwrap_or(u64::MAX / 4);
        let drain = |full_at: u64| {
            let full_at = full_at.max(now).saturating_add(cost);
            // A part is forgiven: costs are rounded down and depths too, but not alike.
            (full_at <= now.saturating_add(self.depth).saturating_add(1)).then_some(full_at)
        };
        let order = Ordering::Relaxed;
        self.full_at.fetch_update(order, order, drain).is_ok()
    }
}

impl MeterEntry {
    /// A meter added at `created`, or, with `previous`, put in its place.
    #[must_use]
    pub fn new(meter: Meter, created: Tick, previous: Option<&Self>) -> Self {
        let in_packets = meter.flags.has(MeterFlags::PKTPS);
        let bands = meter.bands.iter();
        let buckets = bands.map(|band| Bucket::new(band.rate, band.burst, in_packets));
        let mut order: Vec<_> = (0..meter.bands.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(meter.bands.get(at).map(|band| band.rate)));
        Self {
            buckets: buckets.collect(),
            order: order.into(),
            meter,
            created: previous.map_or(created, |old| old.created),
            users: previous.map(|old| old.users.clone()).unwrap_or_default(),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// When it was added.
    #[must_use]
    pub fn created(&self) -> Tick {
        self.created
    }

    /// Flows that name it.
    #[must_use]
    pub fn flows(&self) -> u32 {
        self.users.len()
    }

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    /// Takes a packet of `size` bytes in.
    #[must_use]
    pub fn meter_packet(&self, size: usize, now: Moment) -> Verdict {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        let in_packets = self.meter.flags.has(MeterFlags::PKTPS);
        let units = if in_packets { 1 } else { 8 * size as u64 };
        let now = now.0.saturating_mul(PARTS);
        let mut exceeded = None;
        for &at in &self.order {
            if let Some(bucket) = self.buckets.get(at)
                && !bucket.take(units, now)
            {
                exceeded.get_or_insert(at);
            }
        }
        let Some(at) = exceeded else {
            return Verdict::Pass;
        };
        let (Some(bucket), Some(band)) = (self.buckets.get(at), self.meter.bands.get(at)) else {
            return Verdict::Pass;
        };
        bucket.packets.fetch_add(1, Ordering::Relaxed);
        bucket.bytes.fetch_add(size as u64, Ordering::Relaxed);
        match band.kind {
            BandKind::Drop => Verdict::Drop,
            BandKind::DscpRemark { levels } => Verdict::Remark(levels),
        }
    }

    /// Packets and bytes that came in.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        sums(&self.packets, &self.bytes)
    }

    /// Packets and bytes to which each band was applied.
    #[must_use]
    pub fn band_traffic(&self) -> Vec<(u64, u64)> {
        let bands = self.buckets.iter();
        bands.map(|band| sums(&band.packets, &band.bytes)).collect()
    }
}

fn sums(packets: &AtomicU64, bytes: &AtomicU64) -> (u64, u64) {
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    (load(packets), load(bytes))
}

/// A DSCP with its drop precedence raised by `levels`, up to the highest. Only the code points of
/// assured forwarding have one (RFC 2597 §6); others stay.
#[must_use]
pub fn remark(dscp: u8, levels: u8) -> u8 {
    let (class, precedence, low) = (dscp >> 3, dscp >> 1 & 3, dscp & 1);
    if !(1..=4).contains(&class) || precedence == 0 || low != 0 {
        return dscp;
    }
    class << 3 | precedence.saturating_add(levels).min(3) << 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vswitch_flow::Band;

    use super::*;

    const SEC: u64 = 1_000_000_000;

    fn band(kind: BandKind, rate: u32, burst: u32) -> Band {
        Band { kind, rate, burst }
    }

    fn meter(flags: MeterFlags, bands: &[Band]) -> MeterEntry {
        let meter = Meter {
            id: 1,
            flags,
            bands: bands.to_vec(),
        };
        MeterEntry::new(meter, Tick(0), None)
    }

    /// Packets that pass of those that come evenly for `seconds`.
    fn passed(meter: &MeterEntry, size: usize, per_second: u64, seconds: u64) -> u64 {
        let gap = SEC / per_second;
        let times = (0..per_second * seconds).map(|i| Moment(SEC + i * gap));
        let verdicts = times.map(|now| meter.meter_packet(size, now));
        verdicts.filter(|v| *v == Verdict::Pass).count() as u64
    }

    #[test]
    fn rates_hold_from_a_hundred_packets_to_a_hundred_megabits() {
        for rate in [100, 1000, 10_000, 20_000] {
            let meter = meter(MeterFlags::PKTPS, &[band(BandKind::Drop, rate, 0)]);
            // The first second's worth passes at once: the bucket begins full.
            let rate = u64::from(rate);
            let (passed, wanted) = (passed(&meter, 1500, rate * 2, 20), 20 * rate + rate);
            assert!(
                passed.abs_diff(wanted) * 100 <= wanted,
                "{passed} of {wanted}"
            );
        }
        for kilobits in [1000, 10_000, 100_000] {
            let meter = meter(MeterFlags::KBPS, &[band(BandKind::Drop, kilobits, 1000)]);
            let packets = u64::from(kilobits) * 1000 / 12_000;
            let (passed, wanted) = (passed(&meter, 1500, packets * 3, 20), 20 * packets + 83);
            assert!(
                passed.abs_diff(wanted) * 100 <= wanted,
                "{passed} of {wanted}"
            );
        }
    }

    #[test]
    fn a_burst_passes_at_once_and_comes_back_with_time() {
        let meter = meter(MeterFlags::PKTPS, &[band(BandKind::Drop, 1, 5)]);
        let burst = |now| {
            (0..20)
                .filter(|_| meter.meter_packet(60, now) == Verdict::Pass)
                .count()
        };
        assert_eq!(burst(Moment(SEC)), 5);
        assert_eq!(burst(Moment(SEC)), 0);
        assert_eq!(burst(Moment(3 * SEC)), 2);
        assert_eq!(burst(Moment(100 * SEC)), 5);
        assert_eq!(meter.traffic(), (80, 4800));
        assert_eq!(meter.band_traffic(), [(68, 68 * 60)]);
    }

    #[test]
    fn bits_are_counted_for_kilobits() {
        let meter = meter(MeterFlags::KBPS, &[band(BandKind::Drop, 1, 8)]);
        let pass = (0..40).filter(|_| meter.meter_packet(100, Moment(SEC)) == Verdict::Pass);
        assert_eq!(pass.count(), 10);
    }

    #[test]
    fn the_exceeded_band_of_the_highest_rate_is_applied() {
        let mark = BandKind::DscpRemark { levels: 1 };
        let bands = [band(mark, 2, 2), band(BandKind::Drop, 4, 4)];
        let meter = meter(MeterFlags::PKTPS, &bands);
        let verdicts: Vec<_> = (0..6)
            .map(|_| meter.meter_packet(60, Moment(SEC)))
            .collect();
        let (pass, mark, drop) = (Verdict::Pass, Verdict::Remark(1), Verdict::Drop);
        assert_eq!(verdicts, [pass, pass, mark, mark, drop, drop]);
        assert_eq!(meter.band_traffic(), [(2, 120), (2, 120)]);
    }

    #[test]
    fn a_meter_without_bands_counts_and_a_rate_of_zero_lets_nothing_pass() {
        let none = meter(MeterFlags::KBPS, &[]);
        assert_eq!(none.meter_packet(60, Moment(0)), Verdict::Pass);
        assert_eq!(none.traffic(), (1, 60));
        let zero = meter(MeterFlags::PKTPS, &[band(BandKind::Drop, 0, 0)]);
        assert_eq!(zero.meter_packet(60, Moment(SEC)), Verdict::Drop);
    }

    #[test]
    fn workers_share_a_rate() {
        let meter = Arc::new(meter(MeterFlags::PKTPS, &[band(BandKind::Drop, 1000, 100)]));
        let passed: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    let meter = Arc::clone(&meter);
                    scope.spawn(move || {
                        let packets = (0..1000).map(|i| Moment(SEC + i * 1_000_000));
                        let verdicts = packets.map(|now| meter.meter_packet(60, now));
                        verdicts.filter(|v| *v == Verdict::Pass).count()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|w| w.join().expect("no panic"))
                .sum()
        });
        assert!((1090..=1100).contains(&passed), "{passed}");
        assert_eq!(meter.traffic().0, 4000);
    }

    #[test]
    fn drop_precedence_rises_within_its_class() {
        assert_eq!(remark(10, 1), 12); // AF11 becomes AF12
        assert_eq!(remark(34, 2), 38); // AF41 becomes AF43
        assert_eq!(remark(14, 1), 14); // AF13 has the highest
        assert_eq!(remark(0, 1), 0);
        assert_eq!(remark(46, 1), 46); // expedited forwarding has no precedence
    }
}
