//! No bytes make a header view panic: the printer calls all of them.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use vswitch_packet::print::Frame;

fuzz_target!(|frame: &[u8]| {
    black_box(Frame(frame).to_string());
});
