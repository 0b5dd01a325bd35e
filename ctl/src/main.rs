//! The program `vsctl`; what it does is in the library, so that tests can do it too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vsctl::run(std::env::args_os()).into()
}
