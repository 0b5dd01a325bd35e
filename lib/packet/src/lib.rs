//! Header views, builders and checksums.
//!
//! Not for I/O, and not for judging a packet's way: views say what bytes mean, the flow key
//! (`datapath/src/extract.rs`) says what the switch makes of them.
#![forbid(unsafe_code)]

pub mod checksum;
