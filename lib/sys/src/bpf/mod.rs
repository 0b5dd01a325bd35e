//! eBPF without a compiler: a typed assembler, and maps, programs and links over raw `bpf(2)`.
//!
//! The switch needs few and small programs (see [`programs`]); writing them with the assembler
//! keeps the build to a Rust toolchain. It is not a loader of ELF objects.
//!
//! Law: every kernel object is an [`OwnedFd`](std::os::fd::OwnedFd), so it goes when its owner
//! goes. An attachment is a link: closing the last descriptor of the link detaches the program.
//!
//! Threads: nothing here keeps state. Whatever names a device works in the network namespace of
//! the calling thread. Cost: system calls, all of them off the packet path.
//!
//! Spec: `Documentation/bpf/standardization/instruction-set.rst`, `include/uapi/linux/bpf.h`.

mod asm;
mod call;
mod link;
mod map;
mod prog;
pub mod programs;
pub mod steer;

pub use asm::{Alu, AssembleError, Assembler, Code, Cond, Helper, Label, Reg, Size};
pub use link::{Attach, Link, XdpMode};
pub use map::{Counters, XskMap};
pub use prog::{LoadError, Program, ProgramKind, TestRun};
