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
const XDP_MD_DATA: i16 = 0;
const XDP_MD_DATA_END: i16 = 4;
const XDP_MD_RX_QUEUE_INDEX: i16 = 16;

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

/// Sends every frame out of the device `ifindex`, as the last step of a source that runs with
/// [`Program::run_live`]. Counter 0 counts the frames and numbers the flows: `flows` (a power of
/// two, up to 2^31) different values are written to the bytes at `varied`: the lower sixteen bits,
/// big-endian, to the first two, and the upper ones to the next two when there are more values than
/// two bytes hold.
///
/// # Errors
/// The kernel's refusal.
pub fn xdp_source(
    counters: &Counters,
    ifindex: u32,
    varied: u16,
    flows: u32,
) -> Result<Program, LoadError> {
    let wide = flows > 1 << 16;
    let last = (flows.max(1) - 1).min(i32::MAX as u32);
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
        .alu(
            Alu::Add,
            Reg::R5,
            i32::from(varied) + if wide { 4 } else { 2 },
        )
        .jump_if_reg(Cond::Gt, Reg::R5, Reg::R2, send)
        .alu(Alu::And, Reg::R3, last as i32)
        .store(Size::Byte, Reg::R1, varied as i16 + 1, Reg::R3)
        .alu(Alu::Rsh, Reg::R3, 8)
        .store(Size::Byte, Reg::R1, varied as i16, Reg::R3);
    if wide {
        asm.alu(Alu::Rsh, Reg::R3, 8)
            .store(Size::Byte, Reg::R1, varied as i16 + 3, Reg::R3)
            .alu(Alu::Rsh, Reg::R3, 8)
            .store(Size::Byte, Reg::R1, varied as i16 + 2, Reg::R3);
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
        counters.write(0, 0x1fe).expect("exists");
        // Interface 1 is the loopback device of any namespace.
        let program = loaded(xdp_source(&counters, 1, 34, 0x200));
        let run = program.test_run(&[0; 60], 1).expect("runs");
        assert_eq!(run.verdict, XDP_REDIRECT);
        assert_eq!(run.packet[34..36], [0x01, 0xfe]);
        assert_eq!(counters.read(0).expect("exists"), 0x1ff);
        counters.write(0, 0x0123_4567).expect("exists");
        let program = loaded(xdp_source(&counters, 1, 34, 1 << 24));
        let run = program.test_run(&[0; 60], 1).expect("runs");
        assert_eq!(run.packet[34..38], [0x45, 0x67, 0x00, 0x23]);
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
