//! Connections and fragments for `vswitchd`: how they are tracked, what there is, and what becomes
//! of it.
//!
//! Law: a request looks at a bounded number of connections, except to flush and to count, which have
//! to see all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_dpapi::conntrack::{
    CONNECTIONS_MAX_LIMIT, CtCounts, CtEnd, CtEnds, CtEntry, CtEvent, CtExpectation, CtHappened,
    CtSettings, CtState, CtTuple, CtZoneCount, FRAGMENT_MIN_LIMIT, FRAGMENTS_MAX_LIMIT,
    FragmentCounts, FragmentStats, FragmentsWaiting, TcpEnd, TcpState,
};
use vswitch_dpapi::message::Reply;
use vswitch_flow::{CtFilter, CtTupleFilter};

use super::{Control, Refusal, Session};
use crate::conntrack::fragments::{FamilyStatus, Waiting};
use crate::conntrack::proto::{OtherState, Standing};
use crate::conntrack::tuple::{Family, Tuple};
use crate::conntrack::{Conntrack, Cursor, Dumped, End, Event, Filter, Timeouts, TupleFilter, tcp};

/// Most connections or events of one reply: half a megabyte.
const ROWS_MAX: u32 = 4096;

/// Events that wait for who asked for them once.
const EVENTS_WAITING: usize = 8192;

/// Which connections a filter means, in the tracker's own terms.
struct Meant {
    filter: Filter,
    /// One connection, seen from either end.
    either: Option<TupleFilter>,
}

impl Meant {
    fn by(filter: &CtFilter) -> Self {
        let meant = filter.meant();
        let original = tuple_filter(&meant.original, meant.protocol);
        let is_tuple = filter.is_tuple();
        let base = Filter {
            zone: meant.zone,
            mark: meant.mark.unwrap_or_default(),
            label: meant.labels.unwrap_or_default(),
            ..Filter::default()
        };
        if is_tuple {
            return Self {
                filter: Filter {
                    zone: Some(meant.zone.unwrap_or(0)),
                    ..base
                },
                either: Some(original),
            };
        }
        let filter = Filter {
            original,
            reply: tuple_filter(&meant.reply, 0),
            ..base
        };
        Self {
            filter,
            either: None,
        }
    }

    fn means(&self, row: &Dumped) -> bool {
        let either = self.either.as_ref();
        either.is_none_or(|tuple| tuple.matches(&row.original) || tuple.matches(&row.reply))
    }

    /// Filters that together mean the same.
    fn filters(&self) -> Vec<Filter> {
        let Some(tuple) = self.either else {
            return vec![self.filter];
        };
        let (mut original, mut reply) = (self.filter, self.filter);
        original.original = tuple;
        reply.reply = tuple;
        vec![original, reply]
    }
}

fn tuple_filter(tuple: &CtTupleFilter, protocol: u8) -> TupleFilter {
    TupleFilter {
        protocol: (protocol != 0).then_some(protocol),
        src: tuple.src,
        dst: tuple.dst,
        src_port: tuple.src_port,
        dst_port: tuple.dst_port,
        icmp_id: tuple.icmp_id,
        icmp_type: tuple.icmp_type,
        icmp_code: tuple.icmp_code,
    }
}

/// Has connections tracked as `new` says, where `old` said otherwise.
fn set(conntrack: &Conntrack, old: &CtSettings, new: &CtSettings) -> Result<(), Refusal> {
    conntrack.set_limit(new.max_connections as usize);
    conntrack.set_tcp_seq_chk(new.tcp_seq_chk);
    conntrack.set_loose(new.tcp_loose);
    conntrack.set_default_zone_limit(new.default_limit);
    for zone in old
        .limits
        .keys()
        .filter(|zone| !new.limits.contains_key(zone))
    {
        conntrack.set_zone_limit(*zone, None);
    }
    for (zone, limit) in &new.limits {
        conntrack.set_zone_limit(*zone, Some(*limit));
    }
    conntrack.set_default_timeouts(&Timeouts(new.seconds(None)));
    let policies = &new.zone_timeouts;
    for zone in old
        .zone_timeouts
        .keys()
        .filter(|zone| !policies.contains_key(zone))
    {
        conntrack.set_timeouts(*zone, None);
    }
    for zone in policies.keys() {
        conntrack.set_timeouts(*zone, Some(&Timeouts(new.seconds(Some(*zone)))));
    }
    let fragments = conntrack.fragments();
    let max = new.max_fragments;
    fragments
        .set_max(max)
        .map_err(|_| Refusal::Fragments(max))?;
    for (family, of) in [
        (Family::V4, new.fragments_v4),
        (Family::V6, new.fragments_v6),
    ] {
        fragments.set_enabled(family, of.collect);
        fragments
            .set_min_size(family, of.min_size)
            .map_err(|_| Refusal::FragmentSize(of.min_size))?;
    }
    Ok(())
}

/// Refuses what could not be set, so that nothing else is set either.
fn check(settings: &CtSettings) -> Result<(), Refusal> {
    if settings.max_connections > CONNECTIONS_MAX_LIMIT {
        return Err(Refusal::Connections(settings.max_connections));
    }
    if settings.max_fragments > FRAGMENTS_MAX_LIMIT {
        return Err(Refusal::Fragments(settings.max_fragments));
    }
    let families = [settings.fragments_v4, settings.fragments_v6];
    match families
        .iter()
        .find(|family| family.min_size < FRAGMENT_MIN_LIMIT)
    {
        Some(family) => Err(Refusal::FragmentSize(family.min_size)),
        None => Ok(()),
    }
}

impl Control {
    /// Has connections tracked in another way.
    pub(super) fn set_tracking(&mut self, settings: CtSettings) -> Result<(), Refusal> {
        check(&settings)?;
        let old = std::mem::replace(&mut self.tracking, settings);
        set(&self.conntrack, &old, &self.tracking)
    }

    pub(super) fn connections(&self, from: u32, max: u32, filter: &CtFilter) -> Reply {
        let meant = Meant::by(filter);
        let mut rows = Vec::new();
        let max = max.clamp(1, ROWS_MAX) as usize;
        let next = self
            .conntrack
            .dump(Cursor(from), max, &meant.filter, self.now(), &mut rows);
        rows.retain(|row| meant.means(row));
        Reply::Connections {
            rows: rows.iter().map(entry).collect(),
            next: next.map(|cursor| cursor.0),
        }
    }

    pub(super) fn flush_connections(&self, filter: &CtFilter) -> Reply {
        let now = self.now();
        let filters = Meant::by(filter).filters();
        let flushed: usize = filters
            .iter()
            .map(|filter| self.conntrack.flush(filter, now))
            .sum();
        Reply::Flushed(flushed as u64)
    }

    pub(super) fn expectations(&self) -> Reply {
        let rows = self.conntrack.expectations(self.now()).into_iter();
        let rows = rows.map(|expectation| CtExpectation {
            original: tuple(&expectation.expected.tuple),
            parent: tuple(&expectation.parent_tuple),
            zone: expectation.zone,
            mark: expectation.mark,
            labels: expectation.label,
        });
        Reply::Expectations(rows.collect())
    }

    pub(super) fn count_connections(&self, zone: Option<u16>) -> Reply {
        let filter = Filter {
            zone,
            ..Filter::default()
        };
        let mut counts = CtCounts::default();
        let mut rows = Vec::new();
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            rows.clear();
            let max = ROWS_MAX as usize;
            next = self
                .conntrack
                .dump(from, max, &filter, self.now(), &mut rows);
            for row in &rows {
                counts.total += 1;
                *counts.protocols.entry(row.original.protocol).or_default() += 1;
                if let Standing::Tcp([one, two]) = row.standing {
                    *counts.tcp.entry(tcp_state(one.max(two))).or_default() += 1;
                }
            }
        }
        Reply::ConnectionCounts(counts)
    }

    pub(super) fn connection_stats(&self) -> Reply {
        let happened = self.conntrack.happened();
        let [expired, flushed, evicted, replaced] = happened.ended;
        let [
            not_new,
            outside_window,
            zone_full,
            table_full,
            nat_exhausted,
        ] = happened.refused;
        Reply::ConnectionStats(Box::new(CtHappened {
            len: self.conntrack.len() as u64,
            created: happened.created,
            expired,
            flushed,
            evicted,
            replaced,
            not_new,
            outside_window,
            zone_full,
            table_full,
            nat_exhausted,
            unexpected: happened.unexpected,
        }))
    }

    pub(super) fn zone_counts(&self, zones: Vec<u16>) -> Reply {
        let zones = zones.into_iter().map(|zone| CtZoneCount {
            zone,
            count: self.conntrack.zone_limit(zone).count,
        });
        Reply::ZoneCounts(zones.collect())
    }

    pub(super) fn fragment_stats(&self) -> Reply {
        let fragments = self.conntrack.fragments();
        let status = fragments.status();
        let counts = |family: &FamilyStatus| FragmentCounts {
            accepted: family.accepted,
            completed: family.completed,
            expired: family.expired,
            too_small: family.too_small,
            overlapped: family.overlapped,
            purged: family.purged,
        };
        Reply::Fragments(FragmentStats {
            held: u32::try_from(status.held).unwrap_or(u32::MAX),
            v4: counts(&status.v4),
            v6: counts(&status.v6),
            waiting: fragments.waiting().iter().map(waiting).collect(),
        })
    }

    /// What has happened to connections since the session asked last.
    pub(super) fn connection_events(&self, session: &mut Session, max: u32) -> Reply {
        let events = session
            .connections
            .get_or_insert_with(|| self.conntrack.subscribe(EVENTS_WAITING));
        let rows = std::iter::from_fn(|| events.next_event()).take(max.min(ROWS_MAX) as usize);
        let rows = rows.map(|event| match event {
            Event::New(dumped) => CtEvent::New(entry(&dumped)),
            Event::Destroyed(dumped, end) => {
                let end = match end {
                    End::Expired => CtEnd::Expired,
                    End::Flushed => CtEnd::Flushed,
                    End::Evicted => CtEnd::Evicted,
                    End::Replaced => CtEnd::Replaced,
                };
                CtEvent::Destroyed(entry(&dumped), end)
            }
        });
        Reply::ConnectionEvents {
            rows: rows.collect(),
            lost: events.lost(),
        }
    }
}

fn entry(row: &Dumped) -> CtEntry {
    CtEntry {
        // Of those that live, none has the same place.
        id: row.handle.slot,
        original: tuple(&row.original),
        reply: tuple(&row.reply),
        parent: row.parent.as_ref().map(tuple),
        zone: row.zone,
        mark: row.mark,
        labels: row.label,
        state: match row.standing {
            Standing::Tcp(states) => CtState::Tcp(std::array::from_fn(|i| TcpEnd {
                state: tcp_state(states[i]),
                scale: match row.scales[i] {
                    tcp::Scale::Is(shift) => Some(shift),
                    tcp::Scale::None | tcp::Scale::Missed => None,
                },
                missed: row.scales[i] == tcp::Scale::Missed,
            })),
            Standing::Icmp { answered } => CtState::Other { replied: answered },
            Standing::Other(state) => CtState::Other {
                replied: state == OtherState::Bidirectional,
            },
        },
        snat: row.snat,
        dnat: row.dnat,
        helper: row.helper,
        timeout_ms: row.timeout,
        age_ms: row.age,
        counters: row.counters.map(|counter| (counter.packets, counter.bytes)),
    }
}

fn tuple(tuple: &Tuple) -> CtTuple {
    let ends = if tuple.is_icmp() {
        CtEnds::Icmp {
            id: tuple.src_port,
            kind: tuple.icmp_type(),
            code: tuple.dst_port as u8,
        }
    } else {
        CtEnds::Ports {
            src: tuple.src_port,
            dst: tuple.dst_port,
        }
    };
    CtTuple {
        protocol: tuple.protocol,
        src: tuple.src_ip(),
        dst: tuple.dst_ip(),
        ends,
    }
}

const fn tcp_state(state: tcp::TcpState) -> TcpState {
    match state {
        tcp::TcpState::Closed => TcpState::Closed,
        tcp::TcpState::SynSent => TcpState::SynSent,
        tcp::TcpState::Established => TcpState::Established,
        tcp::TcpState::Closing => TcpState::Closing,
        tcp::TcpState::FinWait2 => TcpState::FinWait2,
        tcp::TcpState::TimeWait => TcpState::TimeWait,
    }
}

fn waiting(waiting: &Waiting) -> FragmentsWaiting {
    let address = |bits: u128| match waiting.family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    };
    FragmentsWaiting {
        src: address(waiting.src),
        dst: address(waiting.dst),
        ident: waiting.ident,
        zone: waiting.zone,
        protocol: waiting.protocol,
        len: u32::try_from(waiting.pieces).unwrap_or(u32::MAX),
        has_first: waiting.has_first,
        has_last: waiting.has_last,
        is_spoiled: waiting.is_spoiled,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vswitch_dpapi::conntrack::CtTimeout;

    use super::*;
    use crate::conntrack::request::{Meta, Request};
    use crate::conntrack::seen::{Kind, Seen};
    use crate::conntrack::{Timeout, fragments};
    use crate::tick::Tick;

    const CLIENT: [u8; 4] = [10, 1, 1, 1];
    const SERVER: [u8; 4] = [10, 1, 1, 2];

    fn udp(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> Tuple {
        Tuple {
            family: Family::V4,
            protocol: 17,
            src: u32::from_be_bytes(src).into(),
            dst: u32::from_be_bytes(dst).into(),
            src_port,
            dst_port,
        }
    }

    fn commit(conntrack: &Conntrack, tuple: Tuple, zone: u16) {
        let seen = Seen {
            tuple,
            len: 60,
            kind: Kind::Udp,
        };
        let request = Request {
            zone,
            commit: true,
            ..Request::default()
        };
        let outcome = conntrack.track(&seen, &Meta::default(), &request, Tick(0));
        assert_eq!(outcome.refused, None);
    }

    /// The connections that a filter means.
    fn meant(conntrack: &Conntrack, filter: &CtFilter) -> Vec<(u16, Tuple)> {
        let meant = Meant::by(filter);
        let mut rows = Vec::new();
        conntrack.dump(Cursor::default(), 100, &meant.filter, Tick(1), &mut rows);
        rows.retain(|row| meant.means(row));
        rows.iter().map(|row| (row.zone, row.original)).collect()
    }

    #[test]
    fn the_tracker_begins_with_the_settings_that_the_contract_names() {
        let conntrack = Conntrack::new(1);
        let settings = CtSettings::default();
        assert_eq!(conntrack.limit(), settings.max_connections as usize);
        assert_eq!(conntrack.tcp_seq_chk(), settings.tcp_seq_chk);
        assert_eq!(conntrack.loose(), settings.tcp_loose);
        assert_eq!(conntrack.default_zone_limit(), settings.default_limit);
        assert_eq!(Timeouts::default().0, settings.seconds(None));
        assert_eq!(
            Timeout::ALL.map(Timeout::name),
            CtTimeout::ALL.map(CtTimeout::name)
        );
        let status = conntrack.fragments().status();
        assert_eq!(status.max, settings.max_fragments);
        for (is, should) in [
            (status.v4, settings.fragments_v4),
            (status.v6, settings.fragments_v6),
        ] {
            assert_eq!(
                (is.is_enabled, is.min_size),
                (should.collect, should.min_size)
            );
        }
        assert_eq!(fragments::MAX_LIMIT, FRAGMENTS_MAX_LIMIT);
        assert_eq!(fragments::MIN_SIZE_LIMIT, FRAGMENT_MIN_LIMIT);
        conntrack.set_limit(usize::MAX);
        assert_eq!(conntrack.limit(), CONNECTIONS_MAX_LIMIT as usize);
    }

    #[test]
    fn settings_come_and_go() {
        let conntrack = Conntrack::new(1);
        let usual = CtSettings::default();
        let mut other = usual.clone();
        other.max_connections = 10;
        other.default_limit = 3;
        other.limits.insert(5, 4);
        other.timeouts.insert(CtTimeout::UdpFirst, 7);
        other
            .zone_timeouts
            .insert(5, [(CtTimeout::IcmpReply, 8)].into());
        other.fragments_v6.collect = false;
        set(&conntrack, &usual, &other).expect("possible");
        assert_eq!(conntrack.limit(), 10);
        let limit = |zone| conntrack.zone_limit(zone).limit;
        assert_eq!((limit(5), limit(6)), (4, 3));
        let seconds = |zone, timeout| conntrack.timeouts(zone).0[timeout as usize];
        assert_eq!(seconds(5, Timeout::OtherFirst), 7);
        assert_eq!(
            (
                seconds(5, Timeout::IcmpReply),
                seconds(6, Timeout::IcmpReply)
            ),
            (8, 30)
        );
        assert!(!conntrack.fragments().status().v6.is_enabled);
        set(&conntrack, &other, &usual).expect("possible");
        assert_eq!((limit(5), limit(6)), (0, 0));
        assert_eq!(conntrack.timeouts(5), Timeouts::default());
        assert!(conntrack.fragments().status().v6.is_enabled);
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        let refused = |change: fn(&mut CtSettings)| {
            let mut settings = CtSettings::default();
            change(&mut settings);
            check(&settings).expect_err("too much").to_string()
        };
        assert!(refused(|settings| settings.max_connections = u32::MAX).contains("at most"));
        assert!(refused(|settings| settings.max_fragments = 5001).contains("5000"));
        assert!(refused(|settings| settings.fragments_v6.min_size = 399).contains("400"));
    }

    #[test]
    fn a_whole_tuple_means_one_connection_from_either_end() {
        let conntrack = Conntrack::new(1);
        let there = udp(CLIENT, SERVER, 1, 2);
        let back = udp(SERVER, CLIENT, 2, 1);
        commit(&conntrack, there, 0);
        commit(&conntrack, back, 5);
        commit(&conntrack, udp(CLIENT, SERVER, 3, 2), 0);
        let address = |octets: [u8; 4]| Some(IpAddr::from(octets));
        let whole = |src, dst, src_port, dst_port, zone| CtFilter {
            protocol: 17,
            original: CtTupleFilter {
                src: address(src),
                dst: address(dst),
                src_port: Some(src_port),
                dst_port: Some(dst_port),
                ..CtTupleFilter::default()
            },
            zone,
            ..CtFilter::default()
        };
        for filter in [
            whole(CLIENT, SERVER, 1, 2, None),
            whole(SERVER, CLIENT, 2, 1, None),
        ] {
            assert_eq!(meant(&conntrack, &filter), [(0, there)]);
        }
        assert_eq!(
            meant(&conntrack, &whole(CLIENT, SERVER, 1, 2, Some(5))),
            [(5, back)]
        );
        assert_eq!(meant(&conntrack, &whole(CLIENT, SERVER, 9, 2, None)), []);
        // Anything less is a condition like others, in all zones, one direction each.
        let less = CtFilter {
            original: CtTupleFilter {
                src: address(SERVER),
                ..CtTupleFilter::default()
            },
            ..CtFilter::default()
        };
        assert_eq!(meant(&conntrack, &less), [(5, back)]);
        let reply = CtFilter {
            reply: less.original,
            ..CtFilter::default()
        };
        assert_eq!(meant(&conntrack, &reply).len(), 2);
        assert_eq!(meant(&conntrack, &CtFilter::default()).len(), 3);

        let filters = Meant::by(&whole(SERVER, CLIENT, 2, 1, None)).filters();
        let flushed: usize = filters
            .iter()
            .map(|filter| conntrack.flush(filter, Tick(1)))
            .sum();
        assert_eq!((flushed, conntrack.len()), (1, 2));
    }
}
