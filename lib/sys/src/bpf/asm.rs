//! The assembler: one method per instruction form, labels for jumps, maps by descriptor.
//!
//! It encodes what it is told; whether a program is safe is the kernel's verifier's business. What
//! it adds is that a jump goes to a bound label and that a map named by the code is still open
//! when the code is loaded (the lifetime of [`Code`]).

use std::os::fd::{AsRawFd, BorrowedFd};

/// A register. `R1`–`R5` are arguments of a call and lost by it, `R0` is its result, `R6`–`R9`
/// survive it, `R10` is the frame pointer and read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// Result of calls and of the program.
    R0,
    /// First argument; at entry the context.
    R1,
    /// Second argument.
    R2,
    /// Third argument.
    R3,
    /// Fourth argument.
    R4,
    /// Fifth argument.
    R5,
    /// Kept across calls.
    R6,
    /// Kept across calls.
    R7,
    /// Kept across calls.
    R8,
    /// Kept across calls.
    R9,
    /// The stack's upper end.
    R10,
}

/// Width of a load or a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// Four bytes.
    Word = 0x00,
    /// Two bytes.
    Half = 0x08,
    /// One byte.
    Byte = 0x10,
    /// Eight bytes.
    Double = 0x18,
}

/// A 64-bit arithmetic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// Wrapping addition.
    Add = 0x00,
    /// Wrapping subtraction.
    Sub = 0x10,
    /// Wrapping multiplication.
    Mul = 0x20,
    /// Unsigned division; by zero gives zero.
    Div = 0x30,
    /// Bitwise or.
    Or = 0x40,
    /// Bitwise and.
    And = 0x50,
    /// Shift left.
    Lsh = 0x60,
    /// Shift right, zeros in.
    Rsh = 0x70,
    /// Unsigned remainder; by zero gives the dividend.
    Mod = 0x90,
    /// Bitwise exclusive or.
    Xor = 0xa0,
    /// Assignment.
    Mov = 0xb0,
}

/// The condition of a jump, over unsigned 64-bit values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cond {
    /// Equal.
    Eq = 0x10,
    /// Greater.
    Gt = 0x20,
    /// Greater or equal.
    Ge = 0x30,
    /// A common bit is set.
    Set = 0x40,
    /// Not equal.
    Ne = 0x50,
    /// Less.
    Lt = 0xa0,
    /// Less or equal.
    Le = 0xb0,
}

/// A kernel function that programs call (`___BPF_FUNC_MAPPER` in linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// `R1` map, `R2` pointer to the key; gives a pointer to the value or 0.
    MapLookup = 1,
    /// `R1` interface index, `R2` flags; gives the program's return code.
    Redirect = 23,
    /// `R1` map, `R2` key, `R3` what to return when the slot is empty.
    RedirectMap = 51,
}

/// A place in the code that jumps name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Why an assembly has no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A jump goes to a label that was never bound.
    #[error("instruction {0} jumps to a label that is not bound; bind it before finishing")]
    Unbound(usize),
    /// A jump spans more instructions than its 16-bit offset can say.
    #[error("instruction {0} jumps further than 32767 instructions; split the program")]
    TooFar(usize),
}

/// One instruction as the kernel takes it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Insn {
    code: u8,
    /// Destination in the low four bits, source in the high four on a little-endian machine.
    regs: u8,
    off: i16,
    imm: i32,
}

/// Finished code; maps that it names stay borrowed until it is loaded.
#[derive(Clone, Debug)]
pub struct Code<'m> {
    pub(super) insns: Vec<Insn>,
    maps: std::marker::PhantomData<BorrowedFd<'m>>,
}

impl Code<'_> {
    /// Instruction slots, of which a map reference takes two.
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a program has an exit at least"
    )]
    pub fn len(&self) -> usize {
        self.insns.len()
    }
}

const CLASS_LD: u8 = 0x00;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_JMP: u8 = 0x05;
const CLASS_ALU64: u8 = 0x07;
const MODE_IMM: u8 = 0x00;
const MODE_MEM: u8 = 0x60;
const SOURCE_REG: u8 = 0x08;
const JUMP_ALWAYS: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// Source register number that makes a 64-bit immediate load a map reference.
const PSEUDO_MAP_FD: u8 = 1;

/// Builds [`Code`] instruction by instruction.
#[derive(Debug, Default)]
pub struct Assembler<'m> {
    insns: Vec<Insn>,
    /// Where each label is bound.
    labels: Vec<Option<usize>>,
    /// Jumps whose offset `finish` fills in.
    jumps: Vec<(usize, Label)>,
    maps: std::marker::PhantomData<BorrowedFd<'m>>,
}

impl<'m> Assembler<'m> {
    /// No code yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, code: u8, dst: Reg, src: u8, off: i16, imm: i32) -> &mut Self {
        let (dst, src) = (dst as u8, src & 0x0f);
        let regs = if cfg!(target_endian = "little") {
            src << 4 | dst
        } else {
            dst << 4 | src
        };
        self.insns.push(Insn {
            code,
            regs,
            off,
            imm,
        });
        self
    }

    /// A new label, to be bound once.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Binds `label` to the next instruction.
    pub fn bind(&mut self, label: Label) -> &mut Self {
        self.labels[label.0] = Some(self.insns.len());
        self
    }

    /// `dst = dst op value`
    pub fn alu(&mut self, op: Alu, dst: Reg, value: i32) -> &mut Self {
        self.push(CLASS_ALU64 | op as u8, dst, 0, 0, value)
    }

    /// `dst = dst op src`
    pub fn alu_reg(&mut self, op: Alu, dst: Reg, src: Reg) -> &mut Self {
        self.push(CLASS_ALU64 | SOURCE_REG | op as u8, dst, src as u8, 0, 0)
    }

    /// `dst = value`
    pub fn mov(&mut self, dst: Reg, value: i32) -> &mut Self {
        self.alu(Alu::Mov, dst, value)
    }

    /// `dst = src`
    pub fn mov_reg(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.alu_reg(Alu::Mov, dst, src)
    }

    /// `dst = *(size *)(base + off)`
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) -> &mut Self {
        self.push(CLASS_LDX | MODE_MEM | size as u8, dst, base as u8, off, 0)
    }

    /// `*(size *)(base + off) = src`
    pub fn store(&mut self, size: Size, base: Reg, off: i16, src: Reg) -> &mut Self {
        self.push(CLASS_STX | MODE_MEM | size as u8, base, src as u8, off, 0)
    }

    /// `*(size *)(base + off) = value`
    pub fn store_value(&mut self, size: Size, base: Reg, off: i16, value: i32) -> &mut Self {
        self.push(CLASS_ST | MODE_MEM | size as u8, base, 0, off, value)
    }

    /// `dst = map`
    pub fn map(&mut self, dst: Reg, map: BorrowedFd<'m>) -> &mut Self {
        let code = CLASS_LD | MODE_IMM | Size::Double as u8;
        self.push(code, dst, PSEUDO_MAP_FD, 0, map.as_raw_fd());
        // The upper half of the 64-bit immediate is an instruction of its own.
        self.insns.push(Insn {
            code: 0,
            regs: 0,
            off: 0,
            imm: 0,
        });
        self
    }

    /// `r0 = helper(r1, …)`
    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.push(CLASS_JMP | CALL, Reg::R0, 0, 0, helper as i32)
    }

    /// Goes on at `to`.
    pub fn jump(&mut self, to: Label) -> &mut Self {
        self.jumps.push((self.insns.len(), to));
        self.push(CLASS_JMP | JUMP_ALWAYS, Reg::R0, 0, 0, 0)
    }

    /// Goes on at `to` when `a cond value`.
    pub fn jump_if(&mut self, cond: Cond, a: Reg, value: i32, to: Label) -> &mut Self {
        self.jumps.push((self.insns.len(), to));
        self.push(CLASS_JMP | cond as u8, a, 0, 0, value)
    }

    /// Goes on at `to` when `a cond b`.
    pub fn jump_if_reg(&mut self, cond: Cond, a: Reg, b: Reg, to: Label) -> &mut Self {
        self.jumps.push((self.insns.len(), to));
        self.push(CLASS_JMP | SOURCE_REG | cond as u8, a, b as u8, 0, 0)
    }

    /// Ends the program; `r0` is its verdict.
    pub fn exit(&mut self) -> &mut Self {
        self.push(CLASS_JMP | EXIT, Reg::R0, 0, 0, 0)
    }

    /// Resolves the jumps.
    ///
    /// # Errors
    /// A jump to a label that is not bound or too far away.
    pub fn finish(mut self) -> Result<Code<'m>, AssembleError> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].ok_or(AssembleError::Unbound(at))?;
            let distance = to as i64 - (at as i64 + 1);
            self.insns[at].off = i16::try_from(distance).map_err(|_| AssembleError::TooFar(at))?;
        }
        Ok(Code {
            insns: self.insns,
            maps: std::marker::PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_have_the_bytes_of_the_specification() {
        let mut asm = Assembler::new();
        let end = asm.label();
        asm.load(Size::Word, Reg::R2, Reg::R1, 16)
            .jump_if(Cond::Eq, Reg::R2, 7, end)
            .alu_reg(Alu::Add, Reg::R2, Reg::R6)
            .store(Size::Half, Reg::R10, -2, Reg::R2)
            .call(Helper::RedirectMap)
            .bind(end)
            .mov(Reg::R0, 2)
            .exit();
        let code = asm.finish().expect("labels are bound");
        let bytes: Vec<(u8, u8, i16, i32)> = code
            .insns
            .iter()
            .map(|i| (i.code, i.regs, i.off, i.imm))
            .collect();
        assert_eq!(
            bytes,
            [
                (0x61, 0x12, 16, 0),
                (0x15, 0x02, 3, 7),
                (0x0f, 0x62, 0, 0),
                (0x6b, 0x2a, -2, 0),
                (0x85, 0x00, 0, 51),
                (0xb7, 0x00, 0, 2),
                (0x95, 0x00, 0, 0),
            ]
        );
    }

    #[test]
    fn a_jump_to_nowhere_is_refused() {
        let mut asm = Assembler::new();
        let nowhere = asm.label();
        asm.mov(Reg::R0, 0).jump(nowhere).exit();
        assert_eq!(asm.finish().unwrap_err(), AssembleError::Unbound(1));
    }

    #[test]
    fn a_jump_backwards_counts_from_the_next_instruction() {
        let mut asm = Assembler::new();
        let top = asm.label();
        asm.bind(top).mov(Reg::R0, 0).jump(top);
        assert_eq!(asm.finish().expect("bound").insns[1].off, -2);
    }
}
