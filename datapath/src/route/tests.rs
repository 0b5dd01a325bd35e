use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use vswitch_flow::Prefix;
use vswitch_flow::prefix::left_aligned;

use super::{Lpm, pick};

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The prefixes in a list, which is looked through.
#[derive(Clone, Debug, Default)]
struct Naive(BTreeMap<Prefix, u32>);

impl Naive {
    fn matching(&self, address: IpAddr) -> Vec<u32> {
        let has = self.0.iter().filter(|(prefix, _)| prefix.contains(address));
        let mut all: Vec<_> = has.collect();
        all.sort_by_key(|(prefix, _)| prefix.len);
        all.into_iter().map(|(_, value)| *value).collect()
    }
}

/// Prefixes with few different bits, so that they are within one another, and some anywhere.
fn prefixes() -> impl Strategy<Value = Prefix> {
    let near_v4 = (0_u32..16, 0_u32..4, 0_u8..=32).prop_map(|(high, low, len)| {
        (
            IpAddr::from((high << 26 | low << 11 | low).to_be_bytes()),
            len,
        )
    });
    let far_v4 =
        (any::<u32>(), 0_u8..=32).prop_map(|(bits, len)| (IpAddr::from(bits.to_be_bytes()), len));
    let near_v6 = (0_u128..4, 0_u128..4, 0_u8..=128).prop_map(|(high, low, len)| {
        (
            IpAddr::from((high << 120 | low << 62 | low).to_be_bytes()),
            len,
        )
    });
    prop_oneof![4 => near_v4, 1 => far_v4, 4 => near_v6]
        .prop_map(|(address, len)| Prefix { address, len }.network())
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Prefix, u32),
    Remove(Prefix),
    RemoveNth(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (prefixes(), any::<u32>()).prop_map(|(prefix, value)| Step::Insert(prefix, value)),
        1 => prefixes().prop_map(Step::Remove),
        3 => any::<prop::sample::Index>().prop_map(Step::RemoveNth),
    ];
    prop::collection::vec(step, 0..80)
}

fn same(lpm: &Lpm<u32>, naive: &Naive) {
    assert_eq!(lpm.len(), naive.0.len());
    let mut listed: Vec<_> = lpm.iter().map(|(prefix, value)| (prefix, *value)).collect();
    let ordered = listed.clone();
    listed.sort();
    let expected: Vec<_> = naive
        .0
        .iter()
        .map(|(prefix, value)| (*prefix, *value))
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(ordered, expected, "a walk goes in the order of addresses");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The trie answers as a list does, whatever was added and removed, says how many bits that took,
    /// and copies that were made before a change do not see it.
    #[test]
    fn a_trie_is_a_list_of_prefixes(steps in steps(), keys in prop::collection::vec(prefixes(), 1..20)) {
        let (mut lpm, mut naive) = (Lpm::default(), Naive::default());
        let mut kept = None;
        for (at, step) in steps.iter().enumerate() {
            if at == steps.len() / 2 {
                kept = Some((lpm.clone(), naive.clone()));
            }
            match step {
                Step::Insert(prefix, value) => {
                    prop_assert_eq!(lpm.insert(prefix, *value), naive.0.insert(*prefix, *value));
                }
                Step::Remove(prefix) => {
                    prop_assert_eq!(lpm.remove(prefix), naive.0.remove(prefix));
                }
                Step::RemoveNth(index) => {
                    let all: Vec<_> = naive.0.keys().copied().collect();
                    if !all.is_empty() {
                        let prefix = *index.get(&all);
                        prop_assert_eq!(lpm.remove(&prefix), naive.0.remove(&prefix));
                    }
                }
            }
        }
        same(&lpm, &naive);
        if let Some((lpm, naive)) = kept {
            same(&lpm, &naive);
        }
        for key in keys.iter().copied().chain(naive.0.keys().copied()) {
            prop_assert_eq!(lpm.get(&key), naive.0.get(&key));
            let expected = naive.matching(key.address);
            let found = lpm.lookup(key.address);
            prop_assert_eq!(found.value, expected.last());
            let (all, bits) = lpm.matching(key.address);
            prop_assert_eq!(all.into_iter().copied().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(bits, found.bits);
            prop_assert!(bits <= vswitch_flow::prefix::address_bits(key.address));
            // No prefix that reaches into the other bits could tell two addresses apart.
            let read = Prefix { address: key.address, len: bits };
            for other in naive.0.keys() {
                prop_assert!(
                    other.len <= bits || !read.contains(other.address),
                    "{} depends on {} bits, but there is {}", key.address, bits, other
                );
            }
        }
    }

    /// Flipping a bit that a lookup does not depend on finds the same.
    #[test]
    fn other_bits_do_not_matter(
        all in prop::collection::vec(prefixes(), 1..60),
        key in prefixes(),
        flips in any::<u128>(),
    ) {
        let mut lpm = Lpm::default();
        for (at, prefix) in all.iter().enumerate() {
            lpm.insert(prefix, at as u32);
        }
        let found = lpm.lookup(key.address);
        let free = if found.bits == 128 { 0 } else { u128::MAX >> found.bits };
        let bits = left_aligned(key.address) ^ flips & free;
        let other = match key.address {
            IpAddr::V4(_) => IpAddr::from(((bits >> 96) as u32).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(bits.to_be_bytes()),
        };
        prop_assert_eq!(lpm.lookup(other), found);
    }
}

#[test]
fn the_longest_prefix_wins() {
    let mut lpm = Lpm::default();
    for text in [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3/32",
        "::/0",
        "2001:db8::/32",
    ] {
        assert_eq!(lpm.insert(&prefix(text), text), None);
    }
    for (to, expected) in [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.4", "10.1.0.0/16"),
        ("10.2.0.1", "10.0.0.0/8"),
        ("192.0.2.1", "0.0.0.0/0"),
        ("2001:db8::1", "2001:db8::/32"),
        ("fe80::1", "::/0"),
    ] {
        assert_eq!(lpm.lookup(address(to)).value, Some(&expected), "{to}");
    }
}

#[test]
fn a_lookup_depends_on_as_few_bits_as_tell_it_apart() {
    let mut lpm = Lpm::default();
    assert_eq!(
        lpm.lookup(address("10.0.0.1")).bits,
        0,
        "nothing to tell apart"
    );
    lpm.insert(&prefix("0.0.0.0/0"), 1);
    assert_eq!(lpm.lookup(address("10.0.0.1")).bits, 0, "all the same");
    lpm.insert(&prefix("10.0.0.0/8"), 2);
    assert_eq!(lpm.lookup(address("10.0.0.1")).bits, 8);
    // 10 is 00001010: the fifth bit tells 0 to 7 from it, the first one 128 and more.
    assert_eq!(lpm.lookup(address("128.0.0.1")).bits, 1);
    assert_eq!(lpm.lookup(address("2.0.0.1")).bits, 5);
    lpm.insert(&prefix("10.1.2.0/24"), 3);
    assert_eq!(lpm.lookup(address("10.1.2.200")).bits, 24);
}

#[test]
fn a_change_copies_its_way_only() {
    let mut lpm = Lpm::default();
    for at in 0..2000_u32 {
        lpm.insert(
            &Prefix {
                address: IpAddr::from((at << 12).to_be_bytes()),
                len: 24,
            },
            at,
        );
    }
    let before = lpm.clone();
    let here = |lpm: &Lpm<u32>, at: u32| {
        let found = lpm.lookup(IpAddr::from((at << 12 | 1).to_be_bytes()));
        std::ptr::from_ref(found.value.unwrap())
    };
    lpm.insert(&prefix("0.0.0.0/24"), 7);
    assert_ne!(here(&before, 0), here(&lpm, 0));
    let shared = (0..2000).filter(|at| here(&before, *at) == here(&lpm, *at));
    assert!(shared.count() > 1800, "far from the change all is shared");
}

#[test]
fn ways_get_flows_by_their_weights() {
    let weights = [1_u16, 0, 3];
    let mut counts = [0_u32; 3];
    for step in 0..4000_u32 {
        let at = pick(weights.iter().copied(), step.wrapping_mul(1_073_741)).unwrap();
        counts[at] += 1;
    }
    assert_eq!(counts[1], 0);
    assert!((900..1100).contains(&counts[0]), "{counts:?}");
    assert_eq!(pick([0_u16].into_iter(), 5), None);
    assert_eq!(pick([5_u16].into_iter(), u32::MAX), Some(0));
}
