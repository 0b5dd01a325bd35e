//! Descriptors to port queues, and back.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use vswitch_dpapi::message::Reply;
use vswitch_dpapi::{Attachment, PortId, PortSpec, XskMode};
use vswitch_sys::bpf::XskMap;
use vswitch_sys::tap::TapOffloads;
use vswitch_sys::xsk::{Mode, RingSizes};

use super::{Control, Held, Refusal};
use crate::buffer::FramePool;
use crate::port::afxdp::{AfxdpConfig, AfxdpQueue};
use crate::port::null::NullQueue;
use crate::port::packet::PacketQueue;
use crate::port::pcap::{Pace, PcapQueue, Recording};
use crate::port::tap::TapQueue;
use crate::port::udp::UdpQueue;
use crate::port::{PortIndex, PortQueue};
use crate::worker::{Command, QueueId};

/// Queues ready to be served, and a sentence on what they turned out to be.
type Opened = (Vec<Box<dyn PortQueue>>, String);

impl Control {
    /// Puts a port into service with these descriptors; what served it before is closed.
    pub(super) fn attach(
        &mut self,
        port: PortId,
        attachment: Attachment,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        let spec = self.spec(port)?.clone();
        self.detach(port)?;
        let kept = duplicate(&spec, &fds)?;
        let (queues, detail) = self.open(&spec, &attachment, fds)?;
        let workers = self.place(queues.len());
        for (queue, (io, &worker)) in queues.into_iter().zip(&workers).enumerate() {
            let id = QueueId {
                port: PortIndex(port.0),
                queue: queue as u32,
            };
            let worker = &self.workers[worker as usize];
            self.ask(worker, |done| Command::AddQueue(id, io, done))?;
        }
        tracing::info!(port = spec.name, detail, "attached");
        let held = Held {
            attachment,
            fds: kept,
            workers,
            detail,
        };
        self.held.insert(port, held);
        self.publish_routes()
    }

    /// Takes a port out of service and closes its descriptors. Nothing happens to one that has
    /// none.
    pub(super) fn detach(&mut self, port: PortId) -> Result<(), Refusal> {
        let Some(held) = self.held.remove(&port) else {
            return Ok(());
        };
        self.publish_routes()?;
        for (queue, &worker) in held.workers.iter().enumerate() {
            let id = QueueId {
                port: PortIndex(port.0),
                queue: queue as u32,
            };
            let worker = &self.workers[worker as usize];
            self.ask(worker, |done| Command::RemoveQueue(id, done))?;
        }
        Ok(())
    }

    /// A port's attachment with duplicates of its descriptors.
    pub(super) fn export(&self, port: PortId) -> Result<(Reply, Vec<OwnedFd>), Refusal> {
        let spec = self.spec(port)?;
        let held = self.held.get(&port).ok_or(Refusal::Port(port))?;
        let fds = duplicate(spec, &held.fds)?;
        Ok((Reply::Attachment(held.attachment.clone()), fds))
    }

    fn open(
        &self,
        spec: &PortSpec,
        attachment: &Attachment,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Opened, Refusal> {
        let index = PortIndex(spec.id.0);
        let received = fds.len();
        let count = |expected: &str, ok: bool| {
            if ok {
                return Ok(());
            }
            Err(Refusal::Descriptors {
                port: spec.name.clone(),
                expected: expected.to_owned(),
                received,
            })
        };
        let queues: Vec<Box<dyn PortQueue>>;
        let detail;
        match attachment {
            Attachment::Tap { offloads } => {
                count("one or more", received >= 1)?;
                let offloads = TapOffloads::from_bits(*offloads);
                detail = format!("{received} {}", plural(received, "queue"));
                queues = fds
                    .into_iter()
                    .map(|fd| {
                        Box::new(TapQueue::new(fd, index, offloads, spec.mtu)) as Box<dyn PortQueue>
                    })
                    .collect();
            }
            Attachment::Packet { .. } => {
                count("two", received == 2)?;
                let socket = fds.swap_remove(0);
                detail = "one socket".to_owned();
                queues = vec![Box::new(PacketQueue::new(socket, index, spec.mtu))];
            }
            Attachment::Xsk {
                ifindex,
                mode,
                multi_buffer,
                local,
                steered,
            } => {
                let others = if *steered { 3 } else { 2 };
                let expected = if *steered { "four" } else { "three" };
                count(&format!("{expected} or more"), received > others)?;
                let sockets = received - others;
                let map = XskMap::from_fd(fds.remove(sockets));
                let mut pool = FramePool::new(Arc::clone(&self.frames));
                let mut opened: Vec<Box<dyn PortQueue>> = Vec::new();
                let mut zero_copy = true;
                for (queue, socket) in fds.drain(..sockets).enumerate() {
                    let config = AfxdpConfig {
                        ifindex: *ifindex,
                        queue: queue as u32,
                        rings: RingSizes::default(),
                        mode: match mode {
                            XskMode::ZeroCopy => Mode::ZeroCopy,
                            XskMode::Native => Mode::Native,
                            XskMode::Generic => Mode::Generic,
                        },
                        multi_buffer: *multi_buffer,
                        local: *local,
                        uplink: *steered,
                        mtu: spec.mtu,
                    };
                    match AfxdpQueue::open(socket, index, &config, &map, &self.umem, &mut pool) {
                        Ok(io) => {
                            zero_copy &= io.mode() == Mode::ZeroCopy;
                            opened.push(Box::new(io));
                        }
                        Err(error) => {
                            for io in opened {
                                io.close(&mut pool);
                            }
                            return Err(Refusal::Attach {
                                port: spec.name.clone(),
                                why: error.to_string(),
                            });
                        }
                    }
                }
                detail = format!(
                    "{}{}, {}, {sockets} {}",
                    if *steered {
                        "shared with the host, "
                    } else {
                        ""
                    },
                    match mode {
                        XskMode::Generic => "generic",
                        XskMode::Native | XskMode::ZeroCopy => "native",
                    },
                    if zero_copy { "zero-copy" } else { "copy" },
                    plural(sockets, "queue"),
                );
                queues = opened;
            }
            Attachment::Socket {
                queues: len,
                receivers,
                senders,
            } => {
                let (len, receivers) = (usize::from(*len), usize::from(*receivers));
                let each = receivers + usize::from(*senders);
                count("those of each queue", len > 0 && received == len * each)?;
                let mut fds = fds.into_iter();
                let opened = (0..len).map(|_| {
                    let receivers = fds.by_ref().take(receivers).collect();
                    let senders = fds.by_ref().take(usize::from(*senders)).collect();
                    let io = UdpQueue::new(receivers, senders, index, spec.mtu)?;
                    Ok(Box::new(io) as Box<dyn PortQueue>)
                });
                let opened: std::io::Result<Vec<_>> = opened.collect();
                queues = opened.map_err(|error| Refusal::Attach {
                    port: spec.name.clone(),
                    why: error.to_string(),
                })?;
                detail = format!("{received} {}", plural(received, "socket"));
            }
            Attachment::Pcap {
                replay,
                capture,
                paced,
                repeat,
            } => {
                let expected = usize::from(*replay) + usize::from(*capture);
                count("one for each file", received == expected)?;
                let capture = capture.then(|| fds.pop()).flatten();
                let replay = replay.then(|| fds.pop()).flatten();
                let refused = |why: String| Refusal::Attach {
                    port: spec.name.clone(),
                    why,
                };
                let mut io = PcapQueue::new(index, spec.mtu);
                let mut parts = Vec::new();
                if let Some(file) = replay {
                    let recording =
                        Recording::read(File::from(file)).map_err(|e| refused(e.to_string()))?;
                    parts.push(format!("plays {} packets", recording.len()));
                    let pace = if *paced { Pace::Recorded } else { Pace::Full };
                    io = io.with_replay(recording, pace, *repeat);
                }
                if let Some(file) = capture {
                    let clocks = (Instant::now(), SystemTime::now());
                    parts.push("captures".to_owned());
                    io = io
                        .with_capture(File::from(file), clocks)
                        .map_err(|e| refused(format!("the capture cannot be written: {e}")))?;
                }
                detail = parts.join(", ");
                queues = vec![Box::new(io)];
            }
            Attachment::None => {
                count("none", received == 0)?;
                detail = "takes everything".to_owned();
                queues = vec![Box::new(NullQueue::new(spec.mtu))];
            }
        }
        Ok((queues, detail))
    }

    /// A worker for each of `len` queues: those that serve the fewest, spread over all.
    fn place(&self, len: usize) -> Vec<u32> {
        let mut load = vec![0_usize; self.workers.len()];
        for held in self.held.values() {
            for &worker in &held.workers {
                load[worker as usize] += 1;
            }
        }
        (0..len)
            .map(|_| {
                let (worker, load) = load
                    .iter_mut()
                    .enumerate()
                    .min_by_key(|(_, load)| **load)
                    .expect("there is at least one worker");
                *load += 1;
                worker as u32
            })
            .collect()
    }
}

fn duplicate(spec: &PortSpec, fds: &[OwnedFd]) -> Result<Vec<OwnedFd>, Refusal> {
    let copies = fds.iter().map(|fd| fd.as_fd().try_clone_to_owned());
    copies
        .collect::<Result<_, _>>()
        .map_err(|error| Refusal::Duplicate {
            port: spec.name.clone(),
            error,
        })
}

fn plural(len: usize, word: &str) -> String {
    if len == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}
