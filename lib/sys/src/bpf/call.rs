//! The one system call, with one argument struct per command.
//!
//! The structs are the prefixes of `union bpf_attr` (linux/bpf.h) that the commands read; the
//! kernel takes the bytes behind the given size as zero.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `enum bpf_cmd`
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ProgTestRun = 10,
    ObjInfo = 15,
    LinkCreate = 28,
    LinkUpdate = 29,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapCreate {
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) name: [u8; 16],
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapElement {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ObjInfo {
    pub(super) fd: u32,
    pub(super) info_size: u32,
    pub(super) info: u64,
}

/// The beginning of `struct bpf_map_info`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProgLoad {
    pub(super) kind: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) flags: u32,
    pub(super) name: [u8; 16],
    pub(super) ifindex: u32,
    pub(super) expected_attach_type: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct TestRunAttr {
    pub(super) prog_fd: u32,
    pub(super) retval: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
    pub(super) ctx_size_in: u32,
    pub(super) ctx_size_out: u32,
    pub(super) ctx_in: u64,
    pub(super) ctx_out: u64,
    pub(super) flags: u32,
    pub(super) cpu: u32,
    pub(super) batch_size: u32,
    pub(super) pad: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkCreate {
    pub(super) prog_fd: u32,
    pub(super) target_ifindex: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkUpdate {
    pub(super) link_fd: u32,
    pub(super) new_prog_fd: u32,
    pub(super) flags: u32,
    pub(super) old_prog_fd: u32,
}

/// Calls `bpf(2)`; the result is a descriptor for the commands that make one.
///
/// # Safety
/// `A` is the argument struct of `command`, and every address in it is that of memory of the size
/// which the struct or the map says, valid (and writable where the command writes) for the call.
pub(super) unsafe fn bpf<A>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is exclusively borrowed for the call and its size is passed with it; what it
    // points to is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i32,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}

/// As [`bpf`], for commands whose result is a new descriptor.
///
/// # Safety
/// As for [`bpf`], and `command` makes a descriptor.
pub(super) unsafe fn bpf_fd<A>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: by the caller's promise the result is a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A name as the kernel takes it: at most 15 bytes and a zero; other characters than letters,
/// digits, `_` and `.` are refused there.
pub(super) fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes
}
