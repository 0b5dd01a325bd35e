//! No text makes the parser panic, and what it accepts reads back from what it prints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vswitch_flow::text::{no_names, parse_actions, parse_flow};

fuzz_target!(|text: &str| {
    parse_actions(text, &no_names).ok();
    if let Ok(flow) = parse_flow(text, &no_names) {
        let printed = flow.to_string();
        assert_eq!(
            parse_flow(&printed, &no_names).as_ref(),
            Ok(&flow),
            "{printed}"
        );
    }
});
