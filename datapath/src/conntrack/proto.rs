//! What a packet does to a connection, by protocol: TCP in `tcp`, ICMP queries and all else here.
//!
//! Law: a connection is established when packets were seen both ways. Of TCP that takes the state
//! of its ends, of an ICMP query one answer, of all else one packet the other way.
//!
//! Spec: Open vSwitch `lib/conntrack-icmp.c` and `lib/conntrack-other.c` for states and timeouts;
//! `ovs-fields(7)`, `ct_state`, for `est`, which wants both ways of TCP too.

use super::entry::{Progress, flag};
use super::seen::{Kind, Seen, TcpSeen};
use super::tcp::{self, Step, Tcp, TcpState};
use super::timeouts::Timeout;
use super::tuple::Direction;

/// Where the state of what is not TCP stands in an entry's word.
const STATE: u32 = 48;

/// Where a connection stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// TCP: states of the first packet's sender and of the other end.
    Tcp([TcpState; 2]),
    /// An ICMP query; whether it was answered.
    Icmp {
        /// Whether an answer was seen.
        answered: bool,
    },
    /// Any other protocol.
    Other(OtherState),
}

/// State of a connection that is neither TCP nor ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtherState {
    /// One packet was seen.
    First,
    /// Several, all in one direction.
    Multiple,
    /// Packets both ways.
    Bidirectional,
}

impl Standing {
    /// Out of an entry.
    pub(super) fn of(flags: u32, word: u64) -> Self {
        if flags & flag::TCP != 0 {
            return Self::Tcp(Tcp::states(word));
        }
        match (flags & flag::ICMP != 0, word >> STATE & 0xf) {
            (true, state) => Self::Icmp {
                answered: state != 0,
            },
            (false, 0) => Self::Other(OtherState::First),
            (false, 1) => Self::Other(OtherState::Multiple),
            (false, _) => Self::Other(OtherState::Bidirectional),
        }
    }

    /// Whether nobody has answered, or the connection is over: it may be given up for a new one.
    /// One end alone that has closed ends nothing: the other may send for as long as it likes.
    #[must_use]
    pub fn is_spare(self) -> bool {
        match self {
            Self::Tcp(states) => {
                let is_opening = states.iter().any(|state| *state < TcpState::Established);
                let is_over = states.iter().all(|state| *state >= TcpState::FinWait2);
                is_opening || is_over
            }
            Self::Icmp { answered } => !answered,
            Self::Other(state) => state != OtherState::Bidirectional,
        }
    }

    /// What a connection that stands so waits for.
    pub(super) fn timeout(self) -> Timeout {
        match self {
            Self::Tcp([_, TcpState::Closed]) => Timeout::SynSent,
            Self::Tcp([one, other]) => tcp::timeout(one, other),
            Self::Icmp { answered: false } => Timeout::IcmpFirst,
            Self::Icmp { answered: true } => Timeout::IcmpReply,
            Self::Other(OtherState::First) => Timeout::OtherFirst,
            Self::Other(OtherState::Multiple) => Timeout::OtherSingle,
            Self::Other(OtherState::Bidirectional) => Timeout::OtherMultiple,
        }
    }
}

/// How a connection begins: its flag, what is known of it, and what it waits for.
pub(super) fn begin(seen: &Seen) -> (u32, Progress, Timeout) {
    match &seen.kind {
        Kind::Tcp(segment) => (flag::TCP, Tcp::begin(segment).pack(), Timeout::SynSent),
        Kind::IcmpQuery => (flag::ICMP, Progress::default(), Timeout::IcmpFirst),
        Kind::Udp | Kind::Sctp | Kind::Other | Kind::IcmpError { .. } => {
            (0, Progress::default(), Timeout::OtherFirst)
        }
    }
}

/// Whether a packet may begin a connection.
pub(super) fn may_begin(seen: &Seen, loose: bool) -> bool {
    match &seen.kind {
        Kind::Tcp(segment) => tcp::may_begin(segment, loose),
        // Echo, timestamp and information requests; echo request of ICMPv6. Their answers begin
        // nothing.
        Kind::IcmpQuery => matches!(seen.tuple.icmp_type(), 8 | 13 | 15 | 128),
        Kind::IcmpError { .. } => false,
        Kind::Udp | Kind::Sctp | Kind::Other => true,
    }
}

/// The state of a connection that is not TCP after a packet.
const fn after(flags: u32, state: u64, direction: Direction) -> u64 {
    match (flags & flag::ICMP != 0, direction) {
        (true, Direction::Reply) => 1,
        (true, Direction::Original) => state,
        (false, Direction::Reply) => 2,
        (false, Direction::Original) if state == 0 => 1,
        (false, Direction::Original) => state,
    }
}

/// The word of a connection that is not TCP after a packet; mostly the one it had.
#[inline]
pub(super) const fn next(flags: u32, word: u64, direction: Direction) -> u64 {
    let state = after(flags, word >> STATE & 0xf, direction);
    word & !(0xf << STATE) | state << STATE
}

/// What a packet was that left such a word.
#[inline]
pub(super) const fn told(flags: u32, word: u64) -> Step {
    match (flags & flag::ICMP != 0, word >> STATE & 0xf) {
        (true, 0) => Step::Again(Some(Timeout::IcmpFirst)),
        (true, _) => Step::Valid(Some(Timeout::IcmpReply)),
        (false, 0) => Step::Again(Some(Timeout::OtherFirst)),
        (false, 1) => Step::Again(Some(Timeout::OtherSingle)),
        (false, _) => Step::Valid(Some(Timeout::OtherMultiple)),
    }
}

/// What a segment was, and what it leaves behind.
#[inline]
pub(super) fn segment(
    progress: &mut Progress,
    segment: &TcpSeen,
    direction: Direction,
    check: bool,
) -> Step {
    let mut tcp = Tcp::unpack(progress);
    let step = tcp.step(segment, direction, check);
    *progress = tcp.pack();
    let one_way = tcp.ends[1].state == TcpState::Closed;
    match step {
        // Only one end was heard of: not established, however much it says.
        Step::Valid(timeout) if direction == Direction::Original && one_way => Step::Again(timeout),
        step => step,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tuple::{Family, Tuple, protocol};
    use super::*;

    #[test]
    fn other_protocols_are_established_by_a_packet_back() {
        use Direction::{Original, Reply};
        let mut word = 0;
        let mut step = |flags, direction| {
            word = next(flags, word, direction);
            (told(flags, word), Standing::of(flags, word))
        };
        let single = (
            Step::Again(Some(Timeout::OtherSingle)),
            Standing::Other(OtherState::Multiple),
        );
        let both = (
            Step::Valid(Some(Timeout::OtherMultiple)),
            Standing::Other(OtherState::Bidirectional),
        );
        assert_eq!(step(0, Original), single);
        assert_eq!(step(0, Original), single);
        assert_eq!(step(0, Reply), both);
        assert_eq!(step(0, Original), both);
    }

    #[test]
    fn a_query_is_established_by_its_answer() {
        use Direction::{Original, Reply};
        let word = next(flag::ICMP, 0, Original);
        assert_eq!(
            told(flag::ICMP, word),
            Step::Again(Some(Timeout::IcmpFirst))
        );
        assert!(Standing::of(flag::ICMP, word).is_spare());
        let word = next(flag::ICMP, word, Reply);
        let answered = Step::Valid(Some(Timeout::IcmpReply));
        assert_eq!(told(flag::ICMP, word), answered);
        assert_eq!(told(flag::ICMP, next(flag::ICMP, word, Original)), answered);
        assert!(!Standing::of(flag::ICMP, word).is_spare());
    }

    #[test]
    fn who_is_half_closed_is_not_spare() {
        use TcpState::{Closed, Closing, Established, FinWait2, SynSent, TimeWait};
        for (states, is_spare) in [
            ([SynSent, Closed], true),
            ([SynSent, SynSent], true),
            ([Established, SynSent], true),
            ([Established, Established], false),
            ([Closing, Established], false),
            ([FinWait2, Established], false),
            ([Established, FinWait2], false),
            ([FinWait2, Closing], false),
            ([FinWait2, FinWait2], true),
            ([TimeWait, TimeWait], true),
        ] {
            assert_eq!(Standing::Tcp(states).is_spare(), is_spare, "{states:?}");
        }
    }

    #[test]
    fn answers_and_errors_begin_nothing() {
        let tuple = Tuple {
            family: Family::V4,
            protocol: protocol::ICMP,
            src: 1,
            dst: 2,
            src_port: 3,
            dst_port: 0,
        };
        let seen = |kind, icmp: u8| Seen {
            tuple: Tuple {
                dst_port: u16::from(icmp) << 8,
                ..tuple
            },
            len: 64,
            kind,
        };
        for (icmp, may) in [
            (8, true),
            (0, false),
            (13, true),
            (14, false),
            (15, true),
            (16, false),
        ] {
            assert_eq!(may_begin(&seen(Kind::IcmpQuery, icmp), true), may, "{icmp}");
        }
        assert!(!may_begin(&seen(Kind::IcmpError { inner: tuple }, 3), true));
        assert!(may_begin(&seen(Kind::Udp, 0), false));
    }
}
