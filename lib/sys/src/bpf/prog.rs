//! Loaded programs: verification, test runs and the live-frame source.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::asm::{AssembleError, Code};
use super::call::{Command, ProgLoad, TestRunAttr, bpf, bpf_fd, object_name};

/// `BPF_F_XDP_HAS_FRAGS`: the program copes with packets of several buffers.
const F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: act on the program's verdict instead of reporting it.
const F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Bytes of verifier log that are kept; the end of it says what was wrong.
const LOG_SIZE: usize = 64 * 1024;
/// Programs call no function that demands the GPL.
const LICENSE: &std::ffi::CStr = c"MIT OR Apache-2.0";

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// Runs on a device's received frames, before the kernel's stack, and takes jumbo frames that
    /// lie in several buffers.
    Xdp,
    /// Runs on packets of the kernel's stack behind the taps, on ingress.
    TcxIngress,
}

/// Why a program was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The code has no encoding.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The kernel refused it.
    #[error("the kernel refused eBPF program {name}: {error}{}", render(.log))]
    Refused {
        /// The program's name.
        name: String,
        /// What `bpf(2)` answered. `EPERM` means that `CAP_BPF` and `CAP_NET_ADMIN` are missing.
        error: io::Error,
        /// What the verifier wrote, empty when it did not get that far.
        log: String,
    },
}

fn render(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; the verifier says:\n{log}")
    }
}

/// The result of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned, on its last repeat.
    pub verdict: u32,
    /// The packet after the program.
    pub packet: Vec<u8>,
    /// Mean time of one repeat.
    pub duration: Duration,
}

/// A verified program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    kind: ProgramKind,
}

impl Program {
    /// Verifies and loads `code`.
    ///
    /// # Errors
    /// The kernel's refusal, with the verifier's log.
    pub fn load(kind: ProgramKind, name: &str, code: &Code<'_>) -> Result<Self, LoadError> {
        // A first try without a log is the fast one; the second is made for its words only.
        let error = match load(kind, name, code, &mut []) {
            Ok(fd) => return Ok(Self { fd, kind }),
            Err(error) => error,
        };
        let mut log = vec![0_u8; LOG_SIZE];
        let log = match load(kind, name, code, &mut log) {
            Ok(fd) => return Ok(Self { fd, kind }),
            Err(_) => {
                let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
                String::from_utf8_lossy(&log[..end]).trim_end().to_owned()
            }
        };
        Err(LoadError::Refused {
            name: name.to_owned(),
            error,
            log,
        })
    }

    /// What the program is for.
    #[must_use]
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// Runs the program `repeat` times on `packet`, with no effect on any device.
    ///
    /// # Errors
    /// What `bpf(2)` answers; `EINVAL` for a packet shorter than an Ethernet header.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> io::Result<TestRun> {
        let mut out = vec![0_u8; packet.len() + 256];
        let mut attr = TestRunAttr {
            prog_fd: self.fd.as_raw_fd() as u32,
            data_size_in: packet.len() as u32,
            data_in: packet.as_ptr().addr() as u64,
            data_size_out: out.len() as u32,
            data_out: out.as_mut_ptr().addr() as u64,
            repeat,
            ..TestRunAttr::default()
        };
        // SAFETY: the struct is that of PROG_TEST_RUN, and both buffers live through the call with
        // the sizes it states.
        unsafe { bpf(Command::ProgTestRun, &mut attr) }?;
        out.truncate(attr.data_size_out as usize);
        Ok(TestRun {
            verdict: attr.retval,
            packet: out,
            duration: Duration::from_nanos(u64::from(attr.duration)),
        })
    }

    /// Runs an XDP program on `repeat` copies of `packet` and does what it says with each: a
    /// traffic source with next to no cost of its own. The packets come in by the loopback device
    /// of the calling thread's namespace. Blocks until all are gone or a signal arrives.
    ///
    /// Buffers are used again and again; a program that changes bytes must write all of those that
    /// it or a receiver may have changed.
    ///
    /// # Errors
    /// `EINTR` for a signal, else what `bpf(2)` answers.
    pub fn run_live(&self, packet: &[u8], repeat: u32, batch_len: u32) -> io::Result<()> {
        let mut attr = TestRunAttr {
            prog_fd: self.fd.as_raw_fd() as u32,
            data_size_in: packet.len() as u32,
            data_in: packet.as_ptr().addr() as u64,
            repeat,
            flags: F_TEST_XDP_LIVE_FRAMES,
            batch_size: batch_len,
            ..TestRunAttr::default()
        };
        // SAFETY: the struct is that of PROG_TEST_RUN; `packet` outlives the call, and the kernel
        // only reads it.
        unsafe { bpf(Command::ProgTestRun, &mut attr) }.map(drop)
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn load(kind: ProgramKind, name: &str, code: &Code<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    // enum bpf_prog_type and enum bpf_attach_type
    let (prog_type, attach_type, flags) = match kind {
        ProgramKind::Xdp => (6, super::link::ATTACH_XDP, F_XDP_HAS_FRAGS),
        ProgramKind::TcxIngress => (3, super::link::ATTACH_TCX_INGRESS, 0),
    };
    let mut attr = ProgLoad {
        kind: prog_type,
        insn_cnt: code.insns.len() as u32,
        insns: code.insns.as_ptr().addr() as u64,
        license: LICENSE.as_ptr().addr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr().addr() as u64
        },
        flags,
        name: object_name(name),
        expected_attach_type: attach_type,
        ..ProgLoad::default()
    };
    // SAFETY: the struct is that of PROG_LOAD, which makes a descriptor; code, licence and log live
    // through the call with the sizes it states, and the maps in the code are borrowed by it.
    unsafe { bpf_fd(Command::ProgLoad, &mut attr) }
}
