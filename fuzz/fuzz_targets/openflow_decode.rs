//! No bytes make the OpenFlow decoder panic, and what it reads can be written and reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vswitch_openflow::{Dialect, EncodeError, Framer, Message};

fuzz_target!(|bytes: &[u8]| {
    let dialect = Dialect {
        table_id: bytes.len() % 2 == 1,
    };
    let mut framer = Framer::new();
    framer.push(bytes);
    while let Ok(Some(message)) = framer.next_message() {
        let Ok(read) = Message::decode_with(message, dialect) else {
            continue;
        };
        if let Message::BundleAdd(add) = &read.message {
            add.inner().ok();
        }
        let written = match read.message.encode_with(read.version, read.xid, dialect) {
            Ok(written) => written,
            // The usual form of something may be longer than the one that came.
            Err(EncodeError::TooLong(_)) => continue,
            Err(refused) => panic!("{refused}: {read:?}"),
        };
        let again = Message::decode_with(&written, dialect);
        assert_eq!(again.as_ref(), Ok(&read), "{written:02x?}");
    }
});
