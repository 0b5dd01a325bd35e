//! No bytes make the readers of matches, actions and instructions panic, and what they read is
//! written so that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vswitch_openflow::action::{decode_list, encode_list};
use vswitch_openflow::oxm::match10::{decode_match10, encode_match10};
use vswitch_openflow::oxm::matches::{
    decode_match, decode_nx_match, encode_match, encode_nx_match,
};
use vswitch_openflow::{ErrorCode, OfError, Reader, Version, Writer, instruction};

const SHORT: OfError = ErrorCode::BrcBadLen.about("a fuzz target's bytes");

/// What is written, unless it has become too long for its length fields: several forms are longer
/// than the one that was read.
fn written(write: impl FnOnce(&mut Writer)) -> Option<Vec<u8>> {
    let mut to = Writer::new();
    write(&mut to);
    to.finish().ok()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let version = Version::ALL[usize::from(choice >> 4) % Version::ALL.len()];
    let from = &mut Reader::new(bytes, SHORT);
    match choice & 0xf {
        0 => {
            let Ok(read) = decode_match(from) else { return };
            let again = written(|to| encode_match(to, Version::V13, &read));
            let again = again.expect("a match is short");
            let read = decode_match(&mut Reader::new(&again, SHORT)).expect("it was written");
            assert_eq!(
                written(|to| encode_match(to, Version::V13, &read)),
                Some(again)
            );
        }
        1 => {
            let Ok(read) = decode_nx_match(from, bytes.len()) else {
                return;
            };
            let mut to = Writer::new();
            let size = encode_nx_match(&mut to, &read);
            let again = to.finish().expect("a match is short");
            let found = decode_nx_match(&mut Reader::new(&again, SHORT), size);
            assert_eq!(found, Ok(read));
        }
        2 => {
            let Ok(read) = decode_match10(from) else {
                return;
            };
            let again = written(|to| encode_match10(to, &read)).expect("a match is short");
            assert_eq!(decode_match10(&mut Reader::new(&again, SHORT)), Ok(read));
        }
        3 => {
            let Ok(read) = instruction::decode_list(from, version) else {
                return;
            };
            let again = written(|to| instruction::encode_list(to, version, &read));
            let Some(again) = again else { return };
            let read = instruction::decode_list(&mut Reader::new(&again, SHORT), version);
            let read = read.expect("it was written");
            let twice = written(|to| instruction::encode_list(to, version, &read));
            assert_eq!(twice, Some(again));
        }
        _ => {
            let Ok(read) = decode_list(from, version) else {
                return;
            };
            let Some(again) = written(|to| encode_list(to, version, &read)) else {
                return;
            };
            let read = decode_list(&mut Reader::new(&again, SHORT), version);
            let read = read.expect("it was written");
            assert_eq!(written(|to| encode_list(to, version, &read)), Some(again));
        }
    }
});
