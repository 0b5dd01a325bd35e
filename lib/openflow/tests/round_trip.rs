//! Properties: values go to bytes and come back, and no bytes do harm.

mod values;

use proptest::prelude::*;
use vswitch_flow::rule::each_action;
use vswitch_flow::{Action, Match};
use vswitch_openflow::action::{decode_list, encode_list};
use vswitch_openflow::oxm::match10::{MATCH10_SIZE, decode_match10, encode_match10, fits_match10};
use vswitch_openflow::oxm::matches::{
    NxMatch, decode_match, decode_nx_match, encode_match, encode_nx_match,
};
use vswitch_openflow::{ErrorCode, OfError, Reader, Version, Writer, instruction};

const SHORT: OfError = ErrorCode::BrcBadLen.about("a test");

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut to = Writer::new();
    write(&mut to);
    to.finish().expect("it has a form in this version")
}

fn reader(wire: &[u8]) -> Reader<'_> {
    Reader::new(wire, SHORT)
}

fn actions(version: Version, list: &[Action]) -> Result<Vec<Action>, OfError> {
    let wire = written(|to| encode_list(to, version, list));
    decode_list(&mut reader(&wire), version)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_match_comes_back(matches in values::matches(), cookie in any::<(u64, u64)>()) {
        for version in [Version::V13, Version::V14, Version::V15] {
            let wire = written(|to| encode_match(to, version, &matches));
            prop_assert_eq!(wire.len() % 8, 0);
            prop_assert_eq!(decode_match(&mut reader(&wire)), Ok(matches.clone()));
        }
        let said = NxMatch { matches, cookie: cookie.0 & cookie.1, cookie_mask: cookie.1 };
        let mut to = Writer::new();
        let size = encode_nx_match(&mut to, &said);
        let wire = to.finish().expect("a match is short");
        prop_assert_eq!(decode_nx_match(&mut reader(&wire), size), Ok(said));
    }

    #[test]
    fn a_match_of_openflow_1_0_comes_back(wire in any::<[u8; MATCH10_SIZE]>()) {
        let read = decode_match10(&mut reader(&wire)).expect("all bytes are a match");
        prop_assert!(fits_match10(&read), "{}", read);
        let again = written(|to| encode_match10(to, &read));
        prop_assert_eq!(decode_match10(&mut reader(&again)), Ok(read));
    }

    #[test]
    fn a_match_that_fits_openflow_1_0_comes_back_from_it(matches in values::matches()) {
        let wire = written(|to| encode_match10(to, &matches));
        let read: Match = decode_match10(&mut reader(&wire)).expect("all bytes are a match");
        prop_assert_eq!(read == matches, fits_match10(&matches));
    }

    #[test]
    fn actions_come_back(list in prop::collection::vec(values::action13(), 0..6)) {
        for version in [Version::V13, Version::V14] {
            prop_assert_eq!(actions(version, &list), Ok(list.clone()));
        }
    }

    /// In 1.5 there is one way to write bits of a field, so that a `load` comes back as `set_field`.
    #[test]
    fn actions_of_openflow_1_5_come_back(
        list in prop::collection::vec(values::action13(), 0..6),
        meter in prop::option::of(1..1000_u32),
    ) {
        let list: Vec<Action> = list.into_iter().chain(meter.map(Action::Meter)).collect();
        let read = actions(Version::V15, &list);
        prop_assert!(read.is_ok(), "{:?}", read);
        let read = read.expect("it was looked at");
        let mut loads = false;
        each_action(&list, &mut |action| loads |= matches!(action, Action::Load { .. }));
        prop_assert!(loads || read == list, "{:?}\n{:?}", read, list);
        prop_assert_eq!(actions(Version::V15, &read), Ok(read));
    }

    #[test]
    fn actions_of_openflow_1_0_come_back(list in prop::collection::vec(values::action10(), 0..6)) {
        prop_assert_eq!(actions(Version::V10, &list), Ok(list));
    }

    #[test]
    fn instructions_come_back(said in values::instructions()) {
        for version in [Version::V13, Version::V14] {
            let wire = written(|to| instruction::encode_list(to, version, &said));
            prop_assert_eq!(instruction::decode_list(&mut reader(&wire), version), Ok(said.clone()));
        }
    }

    /// Any value has a form in every version, and what is read of it stays as it is.
    #[test]
    fn what_a_version_cannot_say_is_said_another_way(
        said in values::instructions(),
        old in prop::collection::vec(values::action10(), 0..4),
    ) {
        let wire = written(|to| instruction::encode_list(to, Version::V10, &said));
        let read = instruction::decode_list(&mut reader(&wire), Version::V10);
        prop_assert!(read.is_ok(), "{:?}", read);
        let list = actions(Version::V13, &old);
        prop_assert!(list.is_ok(), "{:?}", list);
        let list = list.expect("it was looked at");
        prop_assert_eq!(actions(Version::V13, &list), Ok(list));
    }

    #[test]
    fn bytes_do_no_harm(wire in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_match(&mut reader(&wire));
        let _ = decode_nx_match(&mut reader(&wire), wire.len());
        for version in Version::ALL {
            let _ = decode_list(&mut reader(&wire), version);
            let _ = instruction::decode_list(&mut reader(&wire), version);
        }
    }

    /// Right actions with some bytes changed: either refused, or read and written alike.
    #[test]
    fn changed_bytes_do_no_harm(
        list in prop::collection::vec(values::action13(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for version in Version::ALL {
            let mut wire = written(|to| encode_list(to, version, &list));
            if wire.is_empty() {
                continue;
            }
            for (at, byte) in &changes {
                let at = at.index(wire.len());
                wire[at] = *byte;
            }
            if let Ok(read) = decode_list(&mut reader(&wire), version) {
                let again = written(|to| encode_list(to, version, &read));
                let read = decode_list(&mut reader(&again), version);
                prop_assert!(read.is_ok(), "{:?}", read);
                let read = read.expect("it was looked at");
                prop_assert_eq!(written(|to| encode_list(to, version, &read)), again);
            }
        }
    }
}
