//! No bytes make the extractor panic, and what it read does not depend on what it may not read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vswitch_datapath::extract::extract;
use vswitch_flow::{FlowKey, OfPort, SparseKey};

fuzz_target!(|frame: &[u8]| {
    let port = OfPort(1);
    let Ok(read) = extract(frame, frame.len(), port) else {
        assert!(frame.len() < 14);
        return;
    };
    let dense: FlowKey = read.key.to_dense();
    assert_eq!(SparseKey::from(&dense), read.key);
    assert!(usize::from(read.layout.l3) <= frame.len());
    assert!(usize::from(read.layout.l4) <= frame.len());

    // As the head of a larger packet, a frame has at least the fields it has alone.
    let head = extract(frame, frame.len() + 4096, port).map(|head| head.layout);
    assert_eq!(head.map(|layout| layout.l3), Ok(read.layout.l3));

    // Once a transport header was read, padding changes nothing.
    if read.layout.l4 != 0 {
        let mut padded = frame.to_vec();
        padded.resize(frame.len() + 64, 0xa5);
        assert_eq!(extract(&padded, padded.len(), port), Ok(read));
    }
});
