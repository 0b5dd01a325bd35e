//! Which cached answers a change of flows leaves true.
//!
//! Every change makes new tables, and a cached answer is known to be true of the tables that it came
//! from only. If each change made them all untrue, changing one flow of a hundred thousand would
//! have every packet's answer worked out again. So tables know which flows the last changes touched,
//! and an answer that none of these could have decided is true of the new tables, too.
//!
//! Law: a flow decides only about packets that it matches when its table is looked at. All packets of
//! an answer agree in the bits of its mask, and what actions wrote before a lookup is the same for
//! all of them. So a flow that differs from these bits in one place matches none of the answer's
//! packets; whether it is there makes no difference to any of them, nor to the bits that the answer
//! had to read. Where bits are not known, they count as equal: that an answer is worked out again is
//! never wrong.
//!
//! Changes of routes are told apart by the leading bits of the addresses that they may concern.
//!
//! Not told apart by flow: changes to groups, meters, ports and bridges, and changes to more than
//! [`RECENT_MAX`] flows. After those every answer is worked out again.
//!
//! Cost: a reference for each remembered flow when tables change. For an answer that is found after
//! a change, once, a look at each flow that was touched since the answer was last looked at.

use std::sync::Arc;

use vswitch_flow::{Field, FlowKey, FlowMask, OfPort, PACKET_WORDS, SparseKey, SparseMask, WORDS};

use super::rule::Rule;
use super::tables::LookupCounters;
use super::{DpAction, Lookup};

/// Flows that are remembered: as many as can be looked at in the time that it takes to work an
/// answer out again.
pub const RECENT_MAX: usize = 64;

/// The flows that the last changes touched.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Of the tables that this belongs to.
    epoch: u64,
    /// What changed since this epoch is all here.
    since: u64,
    touched: Vec<Touched>,
}

/// Something that changed.
#[derive(Clone, Debug)]
struct Touched {
    /// Of the tables that the change made.
    epoch: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A flow came or went.
    Flow {
        /// Of the bridge that it belongs to.
        counters: Arc<LookupCounters>,
        rule: Arc<Rule>,
    },
    /// The network that carries tunnels.
    Underlay,
    /// Routes did, which may concern answers with one of these bits.
    Routes(u64),
}

/// What a translation's lookups saw that did not come from the packet as it is.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Ascending by `at`. Without an entry, a word of the packet is as it came, and one of the
    /// pipeline's own is zero.
    words: Box<[Word]>,
    /// Which routes were asked for.
    routed: u64,
    /// The answer has nothing that belongs to the tables which it came from.
    lasts: bool,
    /// The answer rests on the network that carries tunnels.
    underlay: bool,
}

impl Seen {
    /// Notes that the answer rests on the network that carries tunnels.
    pub(super) fn rest_on_underlay(&mut self) {
        self.underlay = true;
    }

    /// The same, with what was noted in another before.
    pub(super) fn and(mut self, before: &Self) -> Self {
        self.underlay |= before.underlay;
        self
    }
}

/// A word of the key as all lookups saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    at: u8,
    value: u64,
    /// The bits that were written before all lookups, and never anything else.
    known: u64,
    /// The bits that were written before some lookup.
    written: u64,
}

/// A cached answer, as far as flows can make it untrue.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The key of one of its packets.
    pub key: &'a SparseKey,
    /// The bits that all of its packets share.
    pub mask: &'a SparseMask,
    /// The tables that were looked at.
    pub lookups: &'a [Lookup],
    /// Flows that it keeps young, though it did not look them up.
    pub renews: &'a [Arc<Rule>],
    /// What the lookups saw.
    pub seen: &'a Seen,
}

impl Recent {
    /// Nothing is known of what was before these tables.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            since: epoch,
            touched: Vec::new(),
        }
    }

    /// Of the tables that this belongs to.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The same after a change that touched these flows of a bridge and nothing else.
    pub(super) fn after<'a>(
        &self,
        epoch: u64,
        counters: &Arc<LookupCounters>,
        rules: impl ExactSizeIterator<Item = &'a Arc<Rule>>,
    ) -> Self {
        let len = rules.len();
        if len > RECENT_MAX {
            return Self::new(epoch);
        }
        let flow = |rule: &Arc<Rule>| What::Flow {
            counters: Arc::clone(counters),
            rule: Arc::clone(rule),
        };
        self.with(epoch, len, rules.map(flow))
    }

    /// The same after a change of the network that carries tunnels, and of nothing else.
    pub(super) fn after_underlay(&self, epoch: u64) -> Self {
        self.with(epoch, 1, std::iter::once(What::Underlay))
    }

    /// The same after a change of routes that may concern answers with one of these bits.
    pub(super) fn after_routes(&self, epoch: u64, spans: u64) -> Self {
        self.with(epoch, 1, std::iter::once(What::Routes(spans)))
    }

    fn with(&self, epoch: u64, len: usize, what: impl Iterator<Item = What>) -> Self {
        let mut since = self.since;
        let forgotten = (self.touched.len() + len).saturating_sub(RECENT_MAX);
        if let Some(last) = forgotten.checked_sub(1).and_then(|at| self.touched.get(at)) {
            since = last.epoch;
        }
        // A change that is remembered in part is not remembered.
        let kept = self.touched.iter().filter(|touched| touched.epoch > since);
        let mut touched = Vec::with_capacity(RECENT_MAX.min(self.touched.len() + len));
        touched.extend(kept.cloned());
        touched.extend(what.map(|what| Touched { epoch, what }));
        Self {
            epoch,
            since,
            touched,
        }
    }

    /// Whether an answer that was true of the tables of `epoch` is true of these.
    #[must_use]
    pub fn spares(&self, epoch: u64, answer: &Answer<'_>) -> bool {
        if epoch < self.since || !answer.seen.lasts {
            return false;
        }
        let later = self.touched.iter().rev();
        let mut later = later.take_while(|touched| touched.epoch > epoch);
        later.all(|touched| !touched.concerns(answer))
    }
}

impl Touched {
    fn concerns(&self, answer: &Answer<'_>) -> bool {
        let (counters, rule) = match &self.what {
            What::Flow { counters, rule } => (counters, rule),
            What::Underlay => return answer.seen.underlay,
            What::Routes(spans) => return spans & answer.seen.routed != 0,
        };
        let table = rule.flow().table;
        let looked =
            |lookup: &Lookup| lookup.table == table && Arc::ptr_eq(&lookup.counters, counters);
        answer.lookups.iter().any(looked) && answer.may_match(rule)
            || answer.renews.iter().any(|other| Arc::ptr_eq(other, rule))
    }
}

impl Answer<'_> {
    /// Whether a flow may match some packet of the answer where its table was looked at.
    fn may_match(&self, rule: &Rule) -> bool {
        let mut matches = rule.flow().matches.iter();
        matches.all(|(at, value, bits)| {
            let (seen, known) = self.word(at);
            (seen ^ value) & bits & known == 0
        })
    }

    /// A word as lookups saw it, and the bits of it that are known.
    fn word(&self, at: usize) -> (u64, u64) {
        let own = at >= PACKET_WORDS;
        let (came, mask) = match own {
            true => (0, u64::MAX),
            false => (self.key.word(at), self.mask.word(at)),
        };
        let word = self
            .seen
            .words
            .iter()
            .find(|word| usize::from(word.at) == at);
        let (value, known) = match word {
            None => (came, mask),
            Some(word) if own => (word.value, word.known),
            Some(word) => {
                let value = came & !word.known | word.value & word.known;
                (value, mask & !word.written | word.known)
            }
        };
        // A conjunction looks again with another number.
        (value, known & !conj_bits(at))
    }
}

/// The bits of `conj_id` in a word.
fn conj_bits(at: usize) -> u64 {
    let row = Field::ConjId.info();
    match usize::from(row.word) == at {
        true => (row.max() as u64) << row.shift,
        false => 0,
    }
}

/// What lookups see, while a translation is at work.
#[derive(Debug, Default)]
pub(super) struct Sight(Option<Box<Views>>);

#[derive(Debug)]
struct Views {
    first: FlowKey,
    /// Written before all lookups, before some, and where they saw different things.
    always: FlowMask,
    ever: FlowMask,
    varied: FlowMask,
}

impl Sight {
    /// A table is looked at with `key`, of which the bits `written` do not come from the packet.
    pub(super) fn look(&mut self, key: &FlowKey, written: &FlowMask) {
        let Some(views) = &mut self.0 else {
            self.0 = Some(Box::new(Views {
                first: *key,
                always: *written,
                ever: *written,
                varied: FlowMask::default(),
            }));
            return;
        };
        for at in 0..WORDS {
            views.varied.words[at] |= views.first.words[at] ^ key.words[at];
            views.always.words[at] &= written.words[at];
            views.ever.words[at] |= written.words[at];
        }
    }

    /// The same of a key whose `in_port` is another.
    pub(super) fn look_from(&mut self, key: &FlowKey, written: &FlowMask, port: OfPort) {
        let (mut key, mut written) = (*key, *written);
        key.set(Field::InPort, port.0.into());
        written.set(Field::InPort, Field::InPort.info().max());
        self.look(&key, &written);
    }

    /// Some lookup saw other things than the packet's in these bits.
    pub(super) fn blur(&mut self, bits: &FlowMask) {
        if let Some(views) = &mut self.0 {
            views.varied.union(bits);
            views.ever.union(bits);
        }
    }

    /// What is kept of it for an answer with these actions.
    pub(super) fn seen(&self, actions: &[DpAction], routed: u64) -> Seen {
        let word = |views: &Views, at: usize| {
            let known = views.always.words[at] & !views.varied.words[at];
            Word {
                at: at as u8,
                value: views.first.words[at] & known,
                known,
                written: views.ever.words[at],
            }
        };
        let told = |word: &Word| match usize::from(word.at) >= PACKET_WORDS {
            true => (word.value, word.known) != (0, u64::MAX),
            false => word.written != 0,
        };
        let words = self.0.iter().flat_map(|views| {
            let all = (0..WORDS).map(|at| word(views, at));
            all.filter(told)
        });
        Seen {
            words: words.collect(),
            routed,
            lasts: actions.iter().all(DpAction::lasts),
            underlay: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vswitch_flow::{FlowRule, Match};

    use super::*;
    use crate::tick::Tick;

    fn rule(table: u8, matches: Match) -> Arc<Rule> {
        let flow = FlowRule {
            table,
            matches,
            ..FlowRule::default()
        };
        Arc::new(Rule::new(flow, Tick(0), None))
    }

    fn tcp(port: u128) -> Match {
        Match::any().with(Field::TcpDst, port)
    }

    /// An answer about packets to TCP port 80 that looked at table 0.
    struct Kept {
        key: SparseKey,
        mask: SparseMask,
        lookups: Vec<Lookup>,
        seen: Seen,
        renews: Vec<Arc<Rule>>,
    }

    impl Kept {
        fn new(counters: &Arc<LookupCounters>) -> Self {
            let mut mask = FlowMask::default();
            mask.set(Field::TcpDst, 0xffff);
            let mut key = FlowKey::default();
            key.set(Field::TcpDst, 80);
            key.set(Field::TcpSrc, 1234);
            let mut sight = Sight::default();
            let mut written = FlowMask::default();
            written.words[PACKET_WORDS..].fill(u64::MAX);
            sight.look_from(&key, &written, OfPort(3));
            Self {
                key: SparseKey::from(&key),
                mask: SparseMask::from(&mask),
                lookups: vec![Lookup {
                    counters: Arc::clone(counters),
                    table: 0,
                    matched: false,
                }],
                seen: sight.seen(&[], 0),
                renews: Vec::new(),
            }
        }

        fn survives(&self, recent: &Recent, epoch: u64) -> bool {
            recent.spares(
                epoch,
                &Answer {
                    key: &self.key,
                    mask: &self.mask,
                    lookups: &self.lookups,
                    renews: &self.renews,
                    seen: &self.seen,
                },
            )
        }
    }

    fn after(recent: &Recent, counters: &Arc<LookupCounters>, rules: &[Arc<Rule>]) -> Recent {
        recent.after(recent.epoch() + 1, counters, rules.iter())
    }

    #[test]
    fn an_answer_outlives_changes_that_are_not_about_its_packets() {
        let counters = Arc::<LookupCounters>::default();
        let kept = Kept::new(&counters);
        let start = Recent::new(7);
        let survives = |rule: Arc<Rule>| kept.survives(&after(&start, &counters, &[rule]), 7);
        assert!(survives(rule(0, tcp(443))));
        assert!(survives(rule(1, tcp(80))), "another table");
        assert!(!survives(rule(0, tcp(80))));
        assert!(!survives(rule(0, Match::any())));
        // The answer is for every source, so it cannot say that a flow for one is not its own.
        assert!(!survives(rule(0, Match::any().with(Field::TcpSrc, 1))));
        assert!(survives(rule(0, Match::any().with(Field::InPort, 2))));
        assert!(!survives(rule(0, Match::any().with(Field::InPort, 3))));
        assert!(survives(rule(0, Match::any().with(Field::Metadata, 1))));
        assert!(!survives(rule(0, Match::any().with(Field::ConjId, 1))));
        let elsewhere = Arc::<LookupCounters>::default();
        let other = after(&start, &elsewhere, &[rule(0, tcp(80))]);
        assert!(kept.survives(&other, 7), "another bridge");
    }

    #[test]
    fn the_network_of_tunnels_concerns_only_answers_that_rest_on_it() {
        let counters = Arc::<LookupCounters>::default();
        let mut kept = Kept::new(&counters);
        let changed = Recent::new(3).after_underlay(4);
        assert!(kept.survives(&changed, 3));
        kept.seen.underlay = true;
        assert!(!kept.survives(&changed, 3) && kept.survives(&changed, 4));
    }

    #[test]
    fn a_flow_that_is_kept_young_is_missed_when_it_goes() {
        let counters = Arc::<LookupCounters>::default();
        let learned = rule(9, tcp(1));
        let mut kept = Kept::new(&counters);
        kept.renews.push(Arc::clone(&learned));
        let recent = after(&Recent::new(1), &counters, &[learned]);
        assert!(!kept.survives(&recent, 1));
    }

    #[test]
    fn what_is_forgotten_spares_nobody() {
        let counters = Arc::<LookupCounters>::default();
        let kept = Kept::new(&counters);
        let mut recent = Recent::new(0);
        let pair = [rule(0, tcp(1)), rule(0, tcp(2))];
        for epoch in 1..=RECENT_MAX as u64 {
            recent = after(&recent, &counters, &pair);
            assert_eq!(recent.epoch(), epoch);
        }
        assert_eq!(recent.touched.len(), RECENT_MAX);
        let half = RECENT_MAX as u64 / 2;
        assert!(kept.survives(&recent, half) && !kept.survives(&recent, half - 1));
        // A change of which only a part would fit is forgotten whole.
        let odd = after(&recent, &counters, &pair[..1]);
        assert_eq!(odd.touched.len(), RECENT_MAX - 1);
        assert!(kept.survives(&odd, half + 1) && !kept.survives(&odd, half));
        let many: Vec<_> = (0..=RECENT_MAX as u128).map(|p| rule(0, tcp(p))).collect();
        let whole = after(&recent, &counters, &many);
        assert!(!kept.survives(&whole, recent.epoch()));
        assert!(kept.survives(&whole, whole.epoch()));
    }

    #[test]
    fn bits_that_lookups_saw_differently_are_not_known() {
        let mut sight = Sight::default();
        let (mut key, mut written) = (FlowKey::default(), FlowMask::default());
        key.set(Field::Reg0, 5);
        written.words[PACKET_WORDS..].fill(u64::MAX);
        sight.look(&key, &written);
        key.set(Field::Reg0, 7);
        key.set(Field::EthDst, 9);
        written.set(Field::EthDst, Field::EthDst.info().max());
        sight.look(&key, &written);
        let counters = Arc::<LookupCounters>::default();
        let mut kept = Kept::new(&counters);
        let mut mask = FlowMask::default();
        mask.set(Field::EthDst, Field::EthDst.info().max());
        (kept.mask, kept.seen) = (SparseMask::from(&mask), sight.seen(&[], 0));
        let start = Recent::new(0);
        let survives = |matches| kept.survives(&after(&start, &counters, &[rule(0, matches)]), 0);
        for (reg, lives) in [(5, false), (7, false), (4, true), (1, true)] {
            let matches = Match::any().with(Field::Reg0, reg);
            assert_eq!(survives(matches), lives, "{reg}");
        }
        assert!(!survives(Match::any().with(Field::EthDst, 1)));
    }

    proptest! {
        /// What is remembered is the end of what happened, and nothing in it is missing.
        #[test]
        fn it_remembers_whole_changes(lens in prop::collection::vec(0..70_usize, 0..30)) {
            let counters = Arc::<LookupCounters>::default();
            let mut recent = Recent::new(0);
            let mut all = Vec::new();
            for (len, epoch) in lens.iter().zip(1_u64..) {
                let rules: Vec<_> = (0..*len).map(|_| rule(0, Match::any())).collect();
                recent = after(&recent, &counters, &rules);
                all.extend(rules.into_iter().map(|rule| (epoch, rule)));
            }
            prop_assert!(recent.touched.len() <= RECENT_MAX);
            let after: Vec<_> = all.iter().filter(|(epoch, _)| *epoch > recent.since).collect();
            prop_assert_eq!(after.len(), recent.touched.len());
            for ((epoch, rule), touched) in after.into_iter().zip(&recent.touched) {
                prop_assert_eq!(*epoch, touched.epoch);
                let What::Flow { rule: known, .. } = &touched.what else {
                    return Err(TestCaseError::fail("no flow"));
                };
                prop_assert!(Arc::ptr_eq(rule, known));
            }
        }
    }
}
