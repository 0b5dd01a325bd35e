//! The programs of the switch.

use std::os::fd::{AsFd, BorrowedFd};

use super::asm::{Alu, AssembleError, Assembler, Code, Cond, Helper, Reg, Size};
use super::map::{Counters, XskMap};
use super::prog::{LoadError, Program, ProgramKind};

/// `XDP_DROP` of `enum xdp_action`
pub const XDP_DROP: u32 = 1;
/// `XDP_PASS` of `enum xdp_action`
pub const XDP_PASS: u32 = 2;
/// `XDP_REDIRECT` of `enum xdp_action`
pub const XDP_REDIRECT: u32 = 4;
/// `TCX_DROP` of `enum tcx_action_base`
pub const TCX_DROP: u32 = 2;

/// `data`, `data_end` and `rx_queue_index` in `struct xdp_md`
pub(super) const XDP_MD_DATA: i16 = 0;
pub(super) const XDP_MD_DATA_END: i16 = 4;
pub(super) const XDP_MD_RX_QUEUE_INDEX: i16 = 16;

/// Hands every frame of a device to the AF_XDP socket that `sockets` has for its receive queue;
/// frames of a queue without a socket go on to the kernel's stack.
///
/// # Errors
/// The kernel's refusal.
pub fn xsk_redirect(sockets: &XskMap) -> Result<Program, LoadError> {
    let code = xsk_redirect_code(sockets.as_fd())?;
    Program::load(ProgramKind::Xdp, "vswitch_xsk", &code)
}

fn xsk_redirect_code(sockets: BorrowedFd<'_>) -> Result<Code<'_>, AssembleError> {
    let mut asm = Assembler::new();
    asm.load(Size::Word, Reg::R2, Reg::R1, XDP_MD_RX_QUEUE_INDEX)
        .map(Reg::R1, sockets)
        .mov(Reg::R3, XDP_PASS as i32)
        .call(Helper::RedirectMap)
        .exit();
    asm.finish()
}

/// Drops everything at the ingress of a device. A packet socket's tap has taken its copy before,
/// so that a device whose frames the switch reads by AF_PACKET is mute for the host's own stack.
///
/// # Errors
/// The kernel's refusal.
pub fn tcx_ingress_drop() -> Result<Program, LoadError> {
    let mut asm = Assembler::new();
    asm.mov(Reg::R0, TCX_DROP as i32).exit();
    Program::load(ProgramKind::TcxIngress, "vswitch_mute", &asm.finish()?)
}

/// Drops every frame in the driver and counts: packets in counter 0, bytes in counter 1. The end
/// of a measured path.
///
/// # Errors
/// The kernel's refusal.
pub fn xdp_sink(counters: &Counters) -> Result<Program, LoadError> {
    let mut asm = Assembler::new();
    let drop = asm.label();
    asm.mov_reg(Reg::R6, Reg::R1);
    asm.store_value(Size::Word, Reg::R10, -4, 0)
        .map(Reg::R1, counters.as_fd())
        .mov_reg(Reg::R2, Reg::R10)
        .alu(Alu::Add, Reg::R2, -4)
        .call(Helper::MapLookup)
        .jump_if(Cond::Eq, Reg::R0, 0, drop)
        .load(Size::Double, Reg::R1, Reg::R0, 0)
        .alu(Alu::Add, Reg::R1, 1)
        .store(Size::Double, Reg::R0, 0, Reg::R1);
    asm.store_value(Size::Word, Reg::R10, -4, 1)
        .map(Reg::R1, counters.as_fd())
        .mov_reg(Reg::R2, Reg::R10)
        .alu(Alu::Add, Reg::R2, -4)
        .call(Helper::MapLookup)
        .jump_if(Cond::Eq, Reg::R0, 0, drop)
        .load(Size::Word, Reg::R2, Reg::R6, XDP_MD_DATA)
        .load(Size::Word, Reg::R3, Reg::R6, XDP_MD_DATA_END)
        .alu_reg(Alu::Sub, Reg::R3, Reg::R2)
        .load(Size::Double, Reg::R1, Reg::R0, 0)
        .alu_reg(Alu::Add, Reg::R1, Reg::R3)
        .store(Size::Double, Reg::R0, 0, Reg::R1);
    asm.bind(drop).mov(Reg::R0, XDP_DROP as i32).exit();
    Program::load(ProgramKind::Xdp, "vswitch_sink", &asm.finish()?)
}

/// A number of 16 bits that a copy of a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The copy's number modulo 16,384, above [`Varied::first`]: a port.
    Low,
    /// All bits of [`Low`](Self::Low) turned round. Where a checksum covers both, it stays right.
    NotLow,
    /// The rest of the number, above [`Varied::first`].
    High,
    /// All bits of [`High`](Self::High) turned round.
    NotHigh,
}

/// Bits of a copy's number that are its low word.
const LOW_BITS: u32 = 14;

/// What differs from copy to copy of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Varied<'a> {
    /// Different copies, a power of two; more begin again.
    pub len: u32,
    /// The least word, so that no port is 0; at most 65,535 - 16,383.
    pub first: u16,
    /// Where the words stand, in network byte order.
    pub words: &'a [(u16, Word)],
}

/// Sends what it is run on to the device `ifindex`, and counts in `counters`: a source of XDP
/// frames without a socket, for [`Program::run_live`]. Copies differ as `varied` says, by the
/// counter's value, so that any number of flows takes turns. A frame that is too short for that is
/// sent as it is.
///
/// # Errors
/// The kernel's refusal.
pub fn xdp_source(
    counters: &Counters,
    ifindex: u32,
    varied: &Varied<'_>,
) -> Result<Program, LoadError> {
    let end = varied.words.iter().map(|(at, _)| at + 2).max().unwrap_or(0);
    let mut asm = Assembler::new();
    let send = asm.label();
    asm.mov_reg(Reg::R6, Reg::R1)
        .store_value(Size::Word, Reg::R10, -4, 0)
        .map(Reg::R1, counters.as_fd())
        .mov_reg(Reg::R2, Reg::R10)
        .alu(Alu::Add, Reg::R2, -4)
        .call(Helper::MapLookup)
        .jump_if(Cond::Eq, Reg::R0, 0, send)
        .load(Size::Double, Reg::R3, Reg::R0, 0)
        .mov_reg(Reg::R4, Reg::R3)
        .alu(Alu::Add, Reg::R4, 1)
        .store(Size::Double, Reg::R0, 0, Reg::R4)
        .load(Size::Word, Reg::R1, Reg::R6, XDP_MD_DATA)
        .load(Size::Word, Reg::R2, Reg::R6, XDP_MD_DATA_END)
        .mov_reg(Reg::R5, Reg::R1)
        .alu(Alu::Add, Reg::R5, i32::from(end))
        .jump_if_reg(Cond::Gt, Reg::R5, Reg::R2, send)
        .alu(Alu::And, Reg::R3, varied.len.max(1).wrapping_sub(1) as i32)
        .mov_reg(Reg::R7, Reg::R3)
        .alu(Alu::And, Reg::R7, (1 << LOW_BITS) - 1)
        .alu(Alu::Add, Reg::R7, i32::from(varied.first))
        .mov_reg(Reg::R8, Reg::R3)
        .alu(Alu::Rsh, Reg::R8, LOW_BITS as i32)
        .alu(Alu::Add, Reg::R8, i32::from(varied.first));
    for &(at, word) in varied.words {
        let number = match word {
            Word::Low | Word::NotLow => Reg::R7,
            Word::High | Word::NotHigh => Reg::R8,
        };
        asm.mov_reg(Reg::R4, number);
        if matches!(word, Word::NotLow | Word::NotHigh) {
            asm.alu(Alu::Xor, Reg::R4, 0xffff);
        }
        asm.store(Size::Byte, Reg::R1, at as i16 + 1, Reg::R4)
            .alu(Alu::Rsh, Reg::R4, 8)
            .store(Size::Byte, Reg::R1, at as i16, Reg::R4);
    }
    asm.bind(send)
        .mov(Reg::R1, ifindex as i32)
        .mov(Reg::R2, 0)
        .call(Helper::Redirect)
        .exit();
    Program::load(ProgramKind::Xdp, "vswitch_source", &asm.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These tests load programs, for which the kernel asks for CAP_BPF and CAP_NET_ADMIN.
    fn loaded(result: Result<Program, LoadError>) -> Program {
        result.expect("run this test as root: it loads eBPF programs")
    }

    #[test]
    fn a_queue_without_a_socket_goes_to_the_stack() {
        let map = XskMap::new(4).expect("run this test as root: it creates eBPF maps");
        let run = loaded(xsk_redirect(&map))
            .test_run(&[0; 60], 1)
            .expect("runs");
        assert_eq!(run.verdict, XDP_PASS);
        assert_eq!(run.packet, [0; 60]);
    }

    #[test]
    fn the_ingress_of_a_muted_device_drops() {
        let run = loaded(tcx_ingress_drop())
            .test_run(&[0; 60], 1)
            .expect("runs");
        assert_eq!(run.verdict, TCX_DROP);
    }

    #[test]
    fn the_sink_counts_packets_and_bytes() {
        let counters = Counters::new(2).expect("run this test as root: it creates eBPF maps");
        let run = loaded(xdp_sink(&counters))
            .test_run(&[0; 100], 7)
            .expect("runs");
        assert_eq!(run.verdict, XDP_DROP);
        assert_eq!(counters.read(0).expect("exists"), 7);
        assert_eq!(counters.read(1).expect("exists"), 700);
    }

    #[test]
    fn the_source_numbers_its_flows_and_redirects() {
        let counters = Counters::new(1).expect("run this test as root: it creates eBPF maps");
        counters.write(0, 5 << 14 | 0x1fe).expect("exists");
        // Interface 1 is the loopback device of any namespace.
        let varied = Varied {
            len: 1 << 20,
            first: 1000,
            words: &[(34, Word::Low), (20, Word::NotLow), (28, Word::High)],
        };
        let program = loaded(xdp_source(&counters, 1, &varied));
        let run = program.test_run(&[0; 60], 1).expect("runs");
        assert_eq!(run.verdict, XDP_REDIRECT);
        // 1000 + 0x1fe, the same turned round, and 1000 + the rest of the number.
        assert_eq!(run.packet[34..36], [0x05, 0xe6]);
        assert_eq!(run.packet[20..22], [0xfa, 0x19]);
        assert_eq!(run.packet[28..30], [0x03, 0xed]);
        assert_eq!(counters.read(0).expect("exists"), 5 << 14 | 0x1ff);
    }

    #[test]
    fn a_refused_program_says_why() {
        let mut asm = Assembler::new();
        asm.mov_reg(Reg::R0, Reg::R7).exit();
        let code = asm.finish().expect("no labels");
        let error =
            Program::load(ProgramKind::Xdp, "broken", &code).expect_err("register 7 was never set");
        assert!(error.to_string().contains("!read_ok"), "{error}");
    }
}
