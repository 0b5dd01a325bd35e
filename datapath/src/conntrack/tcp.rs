//! TCP connections: what state each end is in, and whether a segment can be of this connection.
//!
//! Not a TCP: nothing is kept but the edges of what each end may send, so that a segment that
//! neither end can have sent is told from one that was merely lost, doubled or late.
//!
//! Law: an end's `low` is the end of the newest octet it was seen to send, its `high` the end of
//! what the other end permits it. A segment fits when it ends at or before `high`, begins no more
//! than one window before `low`, and acknowledges about what the other end has sent. A reset must
//! name `low` or a number beside it (RFC 5961 §3 asks for about the same). What does not fit changes
//! nothing, except while a connection was found in its middle, begins or was just closed: then a
//! segment near the edges is let through and moves them, but puts no expiry off.
//!
//! Spec: RFC 9293; G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter", 2001, for the
//! edges; Open vSwitch `lib/conntrack-tcp.c` and pf for states, timeouts and the exceptions, which
//! this module is to agree with.

use super::entry::Progress;
use super::seen::{TcpSeen, flag};
use super::timeouts::Timeout;
use super::tuple::Direction;

/// How far an acknowledgement may be from what was seen: the largest unscaled window and a segment
/// over Ethernet, so that one reordered burst is no offence.
const SKEW: u32 = 65_535 + 1500;

/// Largest shift of a window (RFC 7323 §2.3).
const MAX_SCALE: u8 = 14;

/// State of one end, in the order in which an end goes through them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Nothing was seen of it.
    #[default]
    Closed,
    /// It has sent its SYN, or whatever was seen of it first.
    SynSent,
    /// Its SYN was acknowledged.
    Established,
    /// It has sent its FIN.
    Closing,
    /// Its FIN was acknowledged.
    FinWait2,
    /// One end broke the connection.
    TimeWait,
}

impl TcpState {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::SynSent,
        Self::Established,
        Self::Closing,
        Self::FinWait2,
        Self::TimeWait,
    ];

    /// As `dump-conntrack` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynSent => "SYN_SENT",
            Self::Established => "ESTABLISHED",
            Self::Closing => "CLOSING",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::TimeWait => "TIME_WAIT",
        }
    }
}

/// What is known of an end's window scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Its SYN had no such option, or none was seen yet.
    #[default]
    None,
    /// Its SYN said this.
    Is(u8),
    /// Its SYN was missed.
    Missed,
}

impl Scale {
    const fn pack(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Missed => 0x1f,
            Self::Is(shift) => 0x10 | shift as u64,
        }
    }

    const fn unpack(bits: u64) -> Self {
        match bits & 0x1f {
            0x1f => Self::Missed,
            bits if bits & 0x10 != 0 => Self::Is(bits as u8 & 0xf),
            _ => Self::None,
        }
    }

    const fn shift(self) -> u8 {
        match self {
            Self::Is(shift) => shift,
            Self::None | Self::Missed => 0,
        }
    }
}

/// One end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// End of the newest octet that it sent.
    low: u32,
    /// End of what it may send.
    high: u32,
    /// Its largest window, as it stands in headers.
    window: u16,
    scale: Scale,
    pub(super) state: TcpState,
}

/// Both ends: who sent the first packet, and the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) ends: [End; 2],
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of it. It lives on for the time named, if one is.
    Valid(Option<Timeout>),
    /// Its beginning still: nobody has answered. It lives on likewise.
    Again(Option<Timeout>),
    /// The beginning of another one with the same tuple.
    Anew,
    /// None of it.
    Invalid,
}

/// Whether `a` is at or behind `b` in sequence space (RFC 9293 §3.4).
const fn reaches(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

const fn has(flags: u16, bits: u16) -> bool {
    flags & bits != 0
}

/// Whether no TCP sends such flags: none that carry the connection on, or some that contradict
/// each other.
const fn nonsense(flags: u16) -> bool {
    let begins = has(flags, flag::SYN) && has(flags, flag::RST | flag::FIN);
    let silent = !has(flags, flag::SYN | flag::ACK | flag::RST);
    let early = !has(flags, flag::ACK) && has(flags, flag::FIN | flag::PSH | flag::URG);
    begins || silent || early
}

/// Whether a segment may begin a connection: a SYN, or with `loose` whatever an established
/// connection sends, so that one is picked up in its middle.
pub(super) const fn may_begin(seen: &TcpSeen, loose: bool) -> bool {
    let syn = has(seen.flags, flag::SYN);
    let half_open = syn && has(seen.flags, flag::ACK);
    !nonsense(seen.flags) && !half_open && (syn || loose)
}

/// Octets of sequence space that a segment takes.
const fn span(seen: &TcpSeen) -> u32 {
    seen.payload
        .wrapping_add(has(seen.flags, flag::SYN) as u32)
        .wrapping_add(has(seen.flags, flag::FIN) as u32)
}

impl Tcp {
    /// A connection of which this is the first segment.
    pub(super) fn begin(seen: &TcpSeen) -> Self {
        let syn = has(seen.flags, flag::SYN);
        let scale = match seen.wscale {
            Some(shift) if syn => Scale::Is(shift.min(MAX_SCALE)),
            _ if syn => Scale::None,
            _ => Scale::Missed,
        };
        // A SYN's window is not scaled; kept as if it were, because all later ones are.
        let window = u32::from(seen.window.max(1)).div_ceil(1 << scale.shift());
        let first = End {
            low: seen.seq,
            high: seen.seq.wrapping_add(span(seen)).wrapping_add(1),
            window: window as u16,
            scale,
            state: TcpState::SynSent,
        };
        let second = End {
            low: 0,
            high: 1,
            window: 1,
            scale: if syn { Scale::None } else { Scale::Missed },
            state: TcpState::Closed,
        };
        Self {
            ends: [first, second],
        }
    }

    /// Shifts of both windows, the sender's first.
    const fn shifts(from: &End, to: &End, flags: u16) -> (u8, u8) {
        if has(flags, flag::SYN) {
            return (0, 0);
        }
        match (from.scale, to.scale) {
            (Scale::Is(from), Scale::Is(to)) => (from, to),
            (Scale::Missed, Scale::Missed) => (MAX_SCALE, MAX_SCALE),
            _ => (0, 0),
        }
    }

    /// Takes a segment in. Without `check` every place in the sequence is right.
    pub(super) fn step(&mut self, seen: &TcpSeen, direction: Direction, check: bool) -> Step {
        let before = *self;
        let step = self.take(seen, direction, check);
        if step == Step::Invalid {
            *self = before;
        }
        step
    }

    fn take(&mut self, seen: &TcpSeen, direction: Direction, check: bool) -> Step {
        let [one, two] = &mut self.ends;
        let (from, to) = match direction {
            Direction::Original => (one, two),
            Direction::Reply => (two, one),
        };
        let flags = seen.flags;
        if nonsense(flags) {
            return Step::Invalid;
        }
        if has(flags, flag::SYN) && !has(flags, flag::ACK) {
            if from.state >= TcpState::FinWait2 && to.state >= TcpState::FinWait2 {
                return Step::Anew;
            }
            if from.state <= TcpState::SynSent {
                from.state = TcpState::SynSent;
                return Step::Again(Some(Timeout::SynSent));
            }
        }

        let (mut own, mut other) = Self::shifts(from, to, flags);
        let mut window = seen.window;
        let mut first = seen.seq;
        let mut end = first.wrapping_add(span(seen));
        let mut near = true;
        if from.state < TcpState::SynSent {
            if has(flags, flag::SYN)
                && let Scale::Is(shift) = to.scale
            {
                if let Some(wscale) = seen.wscale {
                    own = wscale.min(MAX_SCALE);
                    other = shift;
                    from.scale = Scale::Is(own);
                    window = u32::from(window).div_ceil(1 << own) as u16;
                } else {
                    // One end does not scale, so neither does.
                    from.scale = Scale::None;
                    to.scale = Scale::None;
                    let whole = u32::from(to.window) << shift;
                    to.window = whole.min(u16::MAX.into()) as u16;
                }
            }
            from.low = seen.seq;
            from.state = TcpState::SynSent;
            let high = end.wrapping_add((u32::from(to.window) << other).max(1));
            // 1 stands for an edge that nobody has set yet.
            if from.high == 1 || reaches(high, from.high) {
                from.high = high;
                near = false;
            }
            from.window = from.window.max(window);
        }

        let mut ack = seen.ack;
        let without_ack = !has(flags, flag::ACK)
            || ack == 0 && flags & (flag::ACK | flag::RST) == flag::ACK | flag::RST;
        if without_ack {
            ack = to.low;
        }
        if first == end {
            // A segment without octets need not be anywhere.
            first = from.low;
            end = first;
        }

        let skew = if near {
            to.low.wrapping_sub(ack) as i32
        } else {
            0
        };
        let ahead = i64::from(skew) >= -i64::from(SKEW);
        let behind = i64::from(skew) <= i64::from(SKEW) << own;
        let back = from.low.wrapping_sub(u32::from(to.window) << other);
        // Or one before or after: SYN and FIN take a number that only later segments show.
        let exact = seen.seq.wrapping_sub(from.low).wrapping_add(1) <= 2;
        let fits = reaches(from.high, end)
            && reaches(first, back)
            && ahead
            && behind
            && (!has(flags, flag::RST) || exact);
        if fits || !check {
            from.advance(to, end, ack, window, own);
            if has(flags, flag::FIN) && from.state < TcpState::Closing {
                from.state = TcpState::Closing;
            }
            if has(flags, flag::ACK) {
                to.state = match to.state {
                    TcpState::SynSent => TcpState::Established,
                    TcpState::Closing => TcpState::FinWait2,
                    state => state,
                };
            }
            if has(flags, flag::RST) {
                (from.state, to.state) = (TcpState::TimeWait, TcpState::TimeWait);
            }
            return Step::Valid(Some(timeout(from.state, to.state)));
        }

        let unsettled = to.state < TcpState::SynSent
            || to.state >= TcpState::FinWait2
            || from.state >= TcpState::FinWait2;
        if unsettled
            && reaches(from.high.wrapping_add(SKEW), end)
            && reaches(first, from.low.wrapping_sub(SKEW))
        {
            from.advance(to, end, ack, window, own);
            if has(flags, flag::FIN) && from.state < TcpState::Closing {
                from.state = TcpState::Closing;
            }
            if has(flags, flag::RST) {
                (from.state, to.state) = (TcpState::TimeWait, TcpState::TimeWait);
            }
            return Step::Valid(None);
        }
        Step::Invalid
    }

    /// Into the words of an entry.
    pub(super) fn pack(&self) -> Progress {
        let [one, two] = &self.ends;
        let edges = |end: &End| u64::from(end.low) << 32 | u64::from(end.high);
        Progress {
            word: u64::from(one.window)
                | u64::from(two.window) << 16
                | one.scale.pack() << 32
                | two.scale.pack() << 40
                | (one.state as u64) << 48
                | (two.state as u64) << 52,
            ends: [edges(one), edges(two)],
        }
    }

    /// Both ends' states out of an entry's word.
    pub(super) fn states(word: u64) -> [TcpState; 2] {
        [48, 52].map(|shift| {
            let number = (word >> shift & 0xf) as usize;
            TcpState::ALL.get(number).copied().unwrap_or_default()
        })
    }

    /// The window scales in the word of an entry; none of another protocol.
    pub(super) fn scales(word: u64) -> [Scale; 2] {
        [32, 40].map(|shift| Scale::unpack(word >> shift))
    }

    /// Out of the words of an entry.
    pub(super) fn unpack(progress: &Progress) -> Self {
        let states = Self::states(progress.word);
        Self {
            ends: std::array::from_fn(|i| End {
                low: (progress.ends[i] >> 32) as u32,
                high: progress.ends[i] as u32,
                window: (progress.word >> (16 * i)) as u16,
                scale: Scale::unpack(progress.word >> (32 + 8 * i)),
                state: states[i],
            }),
        }
    }
}

impl End {
    /// Moves the edges by a segment of this end.
    fn advance(&mut self, to: &mut Self, end: u32, ack: u32, window: u16, shift: u8) {
        self.window = self.window.max(window);
        if reaches(end, self.low) {
            self.low = end;
        }
        let window = u32::from(window) << shift;
        if reaches(ack.wrapping_add(window), to.high) {
            to.high = ack.wrapping_add(window.max(1));
        }
    }
}

/// How long a connection lives on whose ends are in these states.
pub(super) fn timeout(one: TcpState, two: TcpState) -> Timeout {
    let (least, most) = (one.min(two), one.max(two));
    if least >= TcpState::FinWait2 {
        Timeout::Close
    } else if least >= TcpState::Closing {
        Timeout::TimeWait
    } else if least < TcpState::Established {
        Timeout::SynRecv
    } else if most >= TcpState::Closing {
        Timeout::FinWait
    } else {
        Timeout::Established
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u16 = flag::SYN;
    const ACK: u16 = flag::ACK;
    const FIN: u16 = flag::FIN;
    const RST: u16 = flag::RST;
    use Direction::{Original, Reply};

    fn seg(flags: u16, seq: u32, ack: u32, payload: u32) -> TcpSeen {
        TcpSeen {
            flags,
            seq,
            ack,
            window: 1000,
            payload,
            wscale: None,
        }
    }

    fn valid(timeout: Timeout) -> Step {
        Step::Valid(Some(timeout))
    }

    fn open(client: u32, server: u32) -> Tcp {
        let mut tcp = Tcp::begin(&seg(SYN, client, 0, 0));
        let syn_ack = seg(SYN | ACK, server, client.wrapping_add(1), 0);
        assert_eq!(tcp.step(&syn_ack, Reply, true), valid(Timeout::SynRecv));
        let ack = seg(ACK, client.wrapping_add(1), server.wrapping_add(1), 0);
        assert_eq!(tcp.step(&ack, Original, true), valid(Timeout::Established));
        tcp
    }

    fn states(tcp: &Tcp) -> [TcpState; 2] {
        tcp.ends.map(|end| end.state)
    }

    #[test]
    fn a_connection_opens_talks_and_closes_at_every_place_of_the_sequence() {
        for start in [0_u32, 1000, 0x7fff_ffff, u32::MAX - 3, u32::MAX] {
            let (c, s) = (start, start.wrapping_add(0x8000_0000));
            let at = |base: u32, by: u32| base.wrapping_add(by);
            let mut tcp = open(c, s);
            for (segment, direction, want) in [
                (
                    seg(ACK, at(c, 1), at(s, 1), 20),
                    Original,
                    Timeout::Established,
                ),
                (
                    seg(ACK, at(s, 1), at(c, 21), 0),
                    Reply,
                    Timeout::Established,
                ),
                (
                    seg(ACK, at(s, 1), at(c, 21), 500),
                    Reply,
                    Timeout::Established,
                ),
                (
                    seg(ACK | FIN, at(c, 21), at(s, 501), 0),
                    Original,
                    Timeout::FinWait,
                ),
                (seg(ACK, at(s, 501), at(c, 22), 0), Reply, Timeout::FinWait),
                (
                    seg(ACK | FIN, at(s, 501), at(c, 22), 0),
                    Reply,
                    Timeout::TimeWait,
                ),
                (seg(ACK, at(c, 22), at(s, 502), 0), Original, Timeout::Close),
            ] {
                assert_eq!(
                    tcp.step(&segment, direction, true),
                    valid(want),
                    "{segment:?}"
                );
                assert_eq!(Tcp::unpack(&tcp.pack()), tcp);
                assert_eq!(Tcp::states(tcp.pack().word), states(&tcp));
            }
            assert_eq!(states(&tcp), [TcpState::FinWait2; 2]);
            // The same tuple, another connection.
            assert_eq!(tcp.step(&seg(SYN, 9, 0, 0), Original, true), Step::Anew);
        }
    }

    #[test]
    fn what_neither_end_can_have_sent_is_invalid_and_changes_nothing() {
        let mut tcp = open(1000, 5000);
        let before = tcp;
        for segment in [
            seg(ACK, 3_000_000_000, 3_000_000_000, 0),
            seg(ACK, 1001, 5001 + 100_000, 0),
            seg(ACK, 1001 + 2000, 5001, 1),
            seg(ACK, 1001_u32.wrapping_sub(1500), 5001, 1),
            seg(RST, 1500, 0, 0),
            seg(SYN | RST, 1001, 0, 0),
            seg(SYN | FIN, 1001, 0, 0),
            seg(FIN, 1001, 0, 0),
            seg(0, 1001, 0, 10),
        ] {
            assert_eq!(
                tcp.step(&segment, Original, true),
                Step::Invalid,
                "{segment:?}"
            );
            assert_eq!(tcp, before, "{segment:?}");
        }
        // Without the check only nonsense is invalid.
        let far = seg(ACK, 3_000_000_000, 3_000_000_000, 0);
        assert_eq!(tcp.step(&far, Original, false), valid(Timeout::Established));
        let nonsense = seg(SYN | RST, 1001, 0, 0);
        assert_eq!(tcp.step(&nonsense, Original, false), Step::Invalid);
    }

    #[test]
    fn a_reset_must_be_exact() {
        // The handshake's last segment has no octets: the newest known is the SYN.
        for by in [-1_i32, 0, 1] {
            let mut tcp = open(1000, 5000);
            let reset = seg(RST | ACK, 1000_u32.wrapping_add_signed(by), 5001, 0);
            assert_eq!(
                tcp.step(&reset, Original, true),
                valid(Timeout::Close),
                "{by}"
            );
            assert_eq!(states(&tcp), [TcpState::TimeWait; 2]);
        }
        let mut tcp = open(1000, 5000);
        for by in [-2_i32, 2] {
            let reset = seg(RST | ACK, 1000_u32.wrapping_add_signed(by), 5001, 0);
            assert_eq!(tcp.step(&reset, Original, true), Step::Invalid, "{by}");
        }
        // Who refuses a connection knows no sequence number of its own.
        let mut tcp = Tcp::begin(&seg(SYN, 1000, 0, 0));
        let refusal = seg(RST | ACK, 0, 1001, 0);
        assert_eq!(tcp.step(&refusal, Reply, true), valid(Timeout::Close));
    }

    #[test]
    fn a_syn_again_is_the_beginning_again() {
        let mut tcp = Tcp::begin(&seg(SYN, 1000, 0, 0));
        let again = Step::Again(Some(Timeout::SynSent));
        assert_eq!(tcp.step(&seg(SYN, 1000, 0, 0), Original, true), again);
        // Both ends open at once.
        assert_eq!(tcp.step(&seg(SYN, 7000, 0, 0), Reply, true), again);
        assert_eq!(states(&tcp), [TcpState::SynSent; 2]);
    }

    #[test]
    fn windows_are_scaled_when_both_ends_say_so() {
        let scaled = |mut segment: TcpSeen, shift| {
            segment.wscale = Some(shift);
            segment
        };
        let mut tcp = Tcp::begin(&scaled(seg(SYN, 0, 0, 0), 7));
        tcp.step(&scaled(seg(SYN | ACK, 0, 1, 0), 20), Reply, true);
        assert_eq!(tcp.ends.map(|end| end.scale), [Scale::Is(7), Scale::Is(14)]);
        tcp.step(&seg(ACK, 1, 1, 0), Original, true);
        assert_eq!(Tcp::unpack(&tcp.pack()), tcp);
        // 1000 << 7 octets are permitted, and not one more.
        let step = |payload| {
            let mut tcp = tcp;
            tcp.step(&seg(ACK, 1, 1, payload), Reply, true)
        };
        assert_eq!(step(128_000), valid(Timeout::Established));
        assert_eq!(step(128_001), Step::Invalid);

        // The server does not scale, so nobody does.
        let mut tcp = Tcp::begin(&scaled(seg(SYN, 0, 0, 0), 7));
        tcp.step(&seg(SYN | ACK, 0, 1, 0), Reply, true);
        assert_eq!(tcp.ends.map(|end| end.scale), [Scale::None; 2]);
        tcp.step(&seg(ACK, 1, 1, 0), Original, true);
        let over = seg(ACK, 1, 1, 1025);
        assert_eq!(tcp.step(&over, Reply, true), Step::Invalid);
    }

    #[test]
    fn a_connection_is_picked_up_in_its_middle() {
        let data = seg(ACK | flag::PSH, 777_000, 5000, 100);
        assert!(may_begin(&data, true) && !may_begin(&data, false));
        let mut tcp = Tcp::begin(&data);
        assert_eq!(tcp.ends.map(|end| end.scale), [Scale::Missed; 2]);
        let answer = seg(ACK, 5000, 777_100, 0);
        assert_eq!(tcp.step(&answer, Reply, true), valid(Timeout::SynRecv));
        let more = seg(ACK, 777_100, 5000, 60_000);
        assert_eq!(tcp.step(&more, Original, true), valid(Timeout::Established));
        assert_eq!(Tcp::unpack(&tcp.pack()), tcp);
    }

    #[test]
    fn only_some_segments_begin_a_connection() {
        for (flags, loose, strict) in [
            (SYN, true, true),
            (SYN | ACK, false, false),
            (ACK, true, false),
            (ACK | FIN, true, false),
            (RST, true, false),
            (SYN | FIN, false, false),
            (SYN | RST, false, false),
            (FIN, false, false),
            (flag::PSH, false, false),
            (0, false, false),
        ] {
            let segment = seg(flags, 1, 1, 0);
            let told = (may_begin(&segment, true), may_begin(&segment, false));
            assert_eq!(told, (loose, strict), "{flags:#x}");
        }
    }
}
