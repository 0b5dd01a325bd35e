use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(n: u64) -> MacKey {
    MacKey::new((n % 3) as u16, 0x0200_0000_0000 | n)
}

fn fdb(limit: usize) -> Fdb {
    Fdb::new(0x1234_5678, 300, limit)
}

#[test]
fn what_was_learned_is_found_and_moves() {
    let fdb = fdb(10);
    assert_eq!(fdb.learn(key(1), PortIndex(3), Tick(0)), Learned::New);
    assert_eq!(fdb.learn(key(1), PortIndex(3), Tick(5)), Learned::Known);
    assert_eq!(fdb.lookup(key(1)).1.expect("known").port(), PortIndex(3));
    assert_eq!(fdb.learn(key(1), PortIndex(4), Tick(6)), Learned::Moved);
    assert_eq!(fdb.lookup(key(1)).1.expect("known").port(), PortIndex(4));
    let other_vlan = MacKey::new(9, 0x0200_0000_0001);
    assert!(fdb.lookup(other_vlan).1.is_none());
    assert_eq!(fdb.stats().moved, 1);
    assert_eq!(fdb.len(), 1);
}

#[test]
fn group_addresses_are_not_learned() {
    let fdb = fdb(10);
    let group = MacKey::new(0, 0x0100_5e00_0001);
    assert_eq!(fdb.learn(group, PortIndex(1), Tick(0)), Learned::Refused);
    assert_eq!(fdb.len(), 0);
}

#[test]
fn only_changes_that_matter_void_a_decision() {
    let fdb = fdb(10);
    let (unknown, _) = fdb.lookup(key(1));
    assert!(unknown.valid());
    fdb.learn(key(1), PortIndex(1), Tick(0));
    assert!(!unknown.valid(), "an address that was unknown is known");

    let (dep, entry) = fdb.lookup(key(1));
    fdb.learn(key(1), PortIndex(1), Tick(1000));
    entry.expect("known").touch(Tick(2000));
    assert!(dep.valid(), "being seen again changes nothing");
    fdb.learn(key(1), PortIndex(2), Tick(3000));
    assert!(!dep.valid(), "the address moved");

    let (dep, _) = fdb.lookup(key(1));
    fdb.flush();
    assert!(!dep.valid(), "the address is forgotten");
}

#[test]
fn a_touched_address_does_not_age() {
    let fdb = fdb(10);
    fdb.learn(key(1), PortIndex(1), Tick::seconds(0));
    fdb.learn(key(2), PortIndex(1), Tick::seconds(0));
    let (_, entry) = fdb.lookup(key(1));
    entry.expect("known").touch(Tick::seconds(200));
    fdb.expire(Tick::seconds(299));
    assert_eq!(fdb.len(), 2);
    fdb.expire(Tick::seconds(300));
    assert!(fdb.lookup(key(1)).1.is_some());
    assert!(fdb.lookup(key(2)).1.is_none());
    assert_eq!(fdb.rows(Tick::seconds(300))[0].age, 100);
    fdb.expire(Tick::seconds(500));
    assert_eq!((fdb.len(), fdb.stats().expired), (0, 2));
}

#[test]
fn a_port_that_floods_addresses_displaces_its_own() {
    let fdb = fdb(10);
    fdb.learn(key(1), PortIndex(1), Tick(0));
    fdb.learn(key(2), PortIndex(2), Tick(0));
    for n in 100..200 {
        fdb.learn(key(n), PortIndex(7), Tick(n));
    }
    assert_eq!(fdb.len(), 10);
    assert!(fdb.lookup(key(1)).1.is_some() && fdb.lookup(key(2)).1.is_some());
    assert!(fdb.lookup(key(199)).1.is_some() && fdb.lookup(key(191)).1.is_none());
}

#[test]
fn a_smaller_limit_takes_effect_at_once() {
    let fdb = fdb(100);
    for n in 0..50 {
        fdb.learn(key(n), PortIndex(n as u32 % 5), Tick(n));
    }
    fdb.set_limit(10);
    assert_eq!(fdb.len(), 10);
    for port in 0..5 {
        let rows = fdb.rows(Tick(50));
        assert_eq!(rows.iter().filter(|r| r.port == PortIndex(port)).count(), 2);
    }
    fdb.set_limit(0);
    assert_eq!(fdb.learn(key(1), PortIndex(1), Tick(60)), Learned::Refused);
    assert_eq!(fdb.len(), 0);
}

#[test]
fn many_lookups_of_one_bucket_are_one_dependency() {
    let fdb = fdb(10);
    let mut deps = FdbDeps::default();
    for _ in 0..20 {
        assert!(deps.add(fdb.lookup(key(1)).0));
    }
    for n in 2..=DEPS_LEN as u64 {
        assert!(deps.add(fdb.lookup(key(n)).0));
    }
    assert!(!deps.add(fdb.lookup(key(99)).0), "a fifth does not fit");
    assert!(deps.valid());
}

/// The table in its plainest form.
#[derive(Default)]
struct Model {
    /// Port, last seen, order of insertion.
    rows: BTreeMap<MacKey, (PortIndex, u64, u64)>,
    next: u64,
}

impl Model {
    fn learn(&mut self, key: MacKey, port: PortIndex, now: u64, limit: usize) {
        if key.is_multicast() {
            return;
        }
        if let Some(row) = self.rows.get_mut(&key).filter(|row| row.0 == port) {
            row.1 = row.1.max(now);
            return;
        }
        if self.rows.remove(&key).is_none() {
            if limit == 0 {
                return;
            }
            self.shrink(limit - 1);
        }
        self.rows.insert(key, (port, now, self.next));
        self.next += 1;
    }

    fn shrink(&mut self, limit: usize) {
        while self.rows.len() > limit {
            let mut sizes = BTreeMap::new();
            for row in self.rows.values() {
                *sizes.entry(row.0).or_insert(0) += 1;
            }
            let (&port, _) = sizes.iter().max_by_key(|(p, n)| (**n, **p)).expect("rows");
            let (&key, _) = self
                .rows
                .iter()
                .filter(|(_, row)| row.0 == port)
                .min_by_key(|(_, row)| (row.1, row.2))
                .expect("the port has rows");
            self.rows.remove(&key);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Learn(u64, u32),
    Touch(u64),
    Wait(u64),
    Expire,
    FlushPort(u32),
    Flush,
    Limit(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..24_u64, 0..4_u32).prop_map(|(k, p)| Op::Learn(k, p)),
        6 => (0..24_u64).prop_map(Op::Touch),
        4 => (1..200_000_u64).prop_map(Op::Wait),
        2 => Just(Op::Expire),
        1 => (0..4_u32).prop_map(Op::FlushPort),
        1 => Just(Op::Flush),
        2 => (0..16_usize).prop_map(Op::Limit),
    ]
}

proptest! {
    #[test]
    fn a_table_is_its_model(ops in prop::collection::vec(op(), 1..120)) {
        let mut limit = 12;
        let fdb = fdb(limit);
        let mut model = Model::default();
        let mut now = 0;
        for op in ops {
            // What every address's decision was, and whether it says that it still holds.
            let before: Vec<_> = (0..24).map(|n| fdb.lookup(key(n))).collect();
            match op {
                Op::Learn(k, p) => {
                    fdb.learn(key(k), PortIndex(p), Tick(now));
                    model.learn(key(k), PortIndex(p), now, limit);
                }
                Op::Touch(k) => {
                    if let Some(entry) = fdb.lookup(key(k)).1 {
                        entry.touch(Tick(now));
                    }
                    if let Some(row) = model.rows.get_mut(&key(k)) {
                        row.1 = row.1.max(now);
                    }
                }
                Op::Wait(ms) => now += ms,
                Op::Expire => {
                    fdb.expire(Tick(now));
                    model.rows.retain(|_, row| now - row.1 < 300_000);
                }
                Op::FlushPort(p) => {
                    fdb.flush_port(PortIndex(p));
                    model.rows.retain(|_, row| row.0 != PortIndex(p));
                }
                Op::Flush => {
                    fdb.flush();
                    model.rows.clear();
                }
                Op::Limit(n) => {
                    limit = n;
                    fdb.set_limit(n);
                    model.shrink(n);
                }
            }
            let rows: BTreeMap<_, _> = fdb
                .rows(Tick(now))
                .iter()
                .map(|row| (row.key, (row.port, row.age)))
                .collect();
            let wanted: BTreeMap<_, _> = model
                .rows
                .iter()
                .map(|(key, row)| (*key, (row.0, ((now - row.1) / 1000) as u32)))
                .collect();
            prop_assert_eq!(rows, wanted);
            for (n, (dep, was)) in before.into_iter().enumerate() {
                let is = fdb.lookup(key(n as u64)).1.map(|e| e.port());
                if was.map(|e| e.port()) != is {
                    prop_assert!(!dep.valid(), "{:?} changed unnoticed", key(n as u64));
                }
            }
        }
    }
}
