//! One connection: bytes in and out, the version, and whether the peer is still there.
//!
//! A link agrees on a version, then reads messages and hands those that are here to the control loop
//! as one turn; while that is being answered the next are read and decoded. What a message does is
//! not decided here ([`super::session`]), but long dumps are fetched here, page by page, so that
//! they hold up nobody else.
//!
//! Law: answers are written in the order of their requests, and a request is not begun before the
//! answer to the one before has been handed to the socket but for `OUT_SIZE`. So a peer that does
//! not read is not read from, and what it makes us hold is bounded: [`ITEMS_MAX`] messages or
//! `IN_SIZE` bytes in, an answer's parts out, and what [`super::push`] allows.
//!
//! Spec: OpenFlow 1.3.5 §6.3.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use vswitch_openflow::{Dialect, Framer, Header, Message, OfError, Version};

use super::dump::{Dump, Page, Permits};
use super::push::{self, News, Pushed, Pusher};
use super::stream::Stream;

/// Messages that are decoded ahead of their turn, and so most messages of a turn.
pub const ITEMS_MAX: usize = 1024;

/// Bytes of such messages.
const IN_SIZE: usize = 512 << 10;

/// Bytes for the socket beyond which nothing more is begun.
const OUT_SIZE: usize = 256 << 10;

/// Bytes read at a time.
const READ_SIZE: usize = 16 << 10;

/// How long a peer may take to say hello, and to take any of what it was sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a peer may leave a list of flows alone while others wait for theirs.
const LIST_PATIENCE: Duration = Duration::from_secs(2);

/// How long a controller may be silent before it is asked whether it is there, and again before it
/// is taken to be gone (`inactivity_probe` of Open vSwitch).
pub const PROBE: Duration = Duration::from_secs(5);

/// The xid of our own messages, which nobody answers but echo.
pub const OWN_XID: u32 = 0;

/// A connection's number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// A way in's number, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DoorId(pub u64);

/// Bytes of a message that the error which refuses it shows. The specification asks for 64 at least;
/// a client shows people what was refused when it has the whole, as nearly every message is that
/// changes something.
const HEAD_SIZE: usize = 512;

/// The beginning of a message, for the error that refuses it. A bundle holds one for each of its
/// messages, so none takes more than it needs.
#[derive(Clone, Debug)]
pub struct Head(Box<[u8]>);

impl Head {
    /// The beginning of `message`.
    pub fn of(message: &[u8]) -> Self {
        Self(message.get(..HEAD_SIZE).unwrap_or(message).into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its xid.
    pub fn xid(&self) -> u32 {
        Header::decode(self.bytes()).map_or(0, |header| header.xid)
    }
}

/// A message that came.
#[derive(Debug)]
pub struct Item {
    /// Its beginning.
    pub head: Head,
    /// What it says, or why it cannot be read.
    pub message: Result<Message, OfError>,
}

/// A piece of a turn's answer.
#[derive(Debug)]
pub enum Part {
    /// Messages as they are sent.
    Bytes(Vec<u8>),
    /// Flows to be asked of the datapath.
    Dump(Box<Dump>),
    /// News of flows that comes before the rest: all up to this number ([`Pusher::told`]).
    News(u64),
}

/// The answer to a turn.
#[derive(Debug, Default)]
pub struct Answer {
    /// In order.
    pub parts: Vec<Part>,
    /// Messages that were not looked at; they come first in the next turn.
    pub rest: VecDeque<Item>,
    /// The connection is to be closed after this.
    pub close: bool,
}

/// What links tell the control loop.
#[derive(Debug)]
pub enum Word {
    /// A peer has come and a version is agreed.
    Opened {
        /// The connection.
        link: LinkId,
        /// The way it came.
        door: DoorId,
        /// The version.
        version: Version,
        /// Where messages go that it did not ask for.
        pusher: Pusher,
    },
    /// Messages have come.
    Turn {
        /// From whom.
        link: LinkId,
        /// In order.
        items: VecDeque<Item>,
        /// Where the answer goes.
        answer: oneshot::Sender<Answer>,
    },
    /// The peer has taken all news of flows, and there was a pause.
    Drained {
        /// Which.
        link: LinkId,
    },
    /// The connection has ended.
    Closed {
        /// Which.
        link: LinkId,
    },
    /// How it stands with a controller that we connect to, or with a place that we listen on.
    Target {
        /// Which.
        door: DoorId,
        /// In a word or a sentence.
        state: TargetState,
    },
}

/// How it stands with a controller or a listening place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// A connection is being made, or the other side has not said hello.
    Connecting,
    /// It is there.
    Active,
    /// The last try failed; there will be another.
    Backoff(String),
    /// Clients may come.
    Listening,
}

/// What the links of a door have in common.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The door.
    pub door: DoorId,
    /// To the control loop.
    pub words: mpsc::Sender<Word>,
    /// Where copies of all messages go, if anybody listens.
    pub snoop: Option<broadcast::Sender<Arc<[u8]>>>,
    /// The peer is asked whether it is there.
    pub probe: bool,
    /// Where the datapath listens, for dumps.
    pub datapath: PathBuf,
    /// Who holds one may dump.
    pub dumps: Permits,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The peer closed it.
    #[error("the other side closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer does not speak OpenFlow, or not any that we do.
    #[error("{0}")]
    Protocol(String),
    /// TLS did not come about.
    #[error("{0}")]
    Tls(String),
    /// The peer did not prove in time who it is.
    #[error("it did not finish the TLS handshake within {} s", .0.as_secs())]
    Slow(Duration),
    /// Nothing was heard of the peer.
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// The peer did not take what it was sent.
    #[error("it does not take what it is sent")]
    Stuck,
    /// The peer did not take a list of flows while others waited for theirs.
    #[error("it does not take the flows that it asked for, and others wait for theirs")]
    Hoards,
    /// The switch has no more use for it.
    #[error("the switch ends it")]
    Ours,
}

/// A connection at work.
struct Link {
    id: LinkId,
    setting: Setting,
    stream: Stream,
    version: Version,
    dialect: Dialect,
    framer: Framer,
    /// Decoded, to be handed over.
    ready: VecDeque<Item>,
    ready_size: usize,
    /// For the socket, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Pieces of the answer that are not in `out` yet.
    parts: VecDeque<Part>,
    answer: Option<oneshot::Receiver<Answer>>,
    page: Option<Pin<Box<dyn Future<Output = Page> + Send>>>,
    /// To be closed when all is written.
    closing: bool,
    /// The peer says nothing more; what it said is still done.
    ended: bool,
    heard: Instant,
    took: Instant,
    /// When it was last looked at whether somebody waits for its list to end.
    looked: Instant,
    /// An echo request is on its way.
    probed: bool,
}

/// Serves a connection to its end.
pub async fn serve(mut stream: Stream, id: LinkId, setting: Setting) -> End {
    let mut framer = Framer::new();
    let version = match timeout(PATIENCE, greet(&mut stream, &mut framer, &setting)).await {
        Ok(Ok(version)) => version,
        Ok(Err(end)) => return end,
        Err(_) => return End::Silent(PATIENCE),
    };
    let (pusher, pushed, news) = push::queues();
    let opened = Word::Opened {
        link: id,
        door: setting.door,
        version,
        pusher,
    };
    let words = setting.words.clone();
    if words.send(opened).await.is_err() {
        return End::Ours;
    }
    let now = Instant::now();
    let mut link = Link {
        id,
        setting,
        stream,
        version,
        dialect: Dialect::default(),
        framer,
        ready: VecDeque::new(),
        ready_size: 0,
        out: Vec::new(),
        written: 0,
        parts: VecDeque::new(),
        answer: None,
        page: None,
        closing: false,
        ended: false,
        heard: now,
        took: now,
        looked: now,
        probed: false,
    };
    let Err(end) = link.converse(pushed, news).await;
    let _ = words.send(Word::Closed { link: id }).await;
    end
}

/// Says hello and agrees on a version. What comes after the peer's hello stays in the framer.
async fn greet(
    stream: &mut Stream,
    framer: &mut Framer,
    setting: &Setting,
) -> Result<Version, End> {
    let ours = super::hello::ours();
    write_all(stream, &ours).await?;
    setting.copy(&ours);
    let mut bytes = [0; 1024];
    loop {
        if let Some(message) = framer.next_message().map_err(protocol)? {
            setting.copy(message);
            return match super::hello::agree(message) {
                Ok(version) => Ok(version),
                Err((answer, why)) => {
                    setting.copy(&answer);
                    write_all(stream, &answer).await?;
                    Err(End::Protocol(why))
                }
            };
        }
        stream.readable().await?;
        match stream.try_read(&mut bytes) {
            Ok(0) => return Err(End::Closed),
            Ok(size) => framer.push(bytes.get(..size).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn protocol(error: OfError) -> End {
    End::Protocol(format!("it does not speak OpenFlow: {}", error.about))
}

async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Setting {
    /// Shows a message to those who listen in.
    fn copy(&self, message: &[u8]) {
        if let Some(snoop) = &self.snoop
            && snoop.receiver_count() > 0
        {
            let _ = snoop.send(message.into());
        }
    }

    /// Shows several.
    fn copy_all(&self, mut messages: &[u8]) {
        if self
            .snoop
            .as_ref()
            .is_none_or(|snoop| snoop.receiver_count() == 0)
        {
            return;
        }
        while let Ok(header) = Header::decode(messages) {
            let size = usize::from(header.length);
            let Some((message, rest)) = messages.split_at_checked(size).filter(|_| size > 0) else {
                return;
            };
            self.copy(message);
            messages = rest;
        }
    }
}

/// What woke a link.
enum Wake {
    Read,
    Write,
    Answer(Option<Answer>),
    Page(Page),
    Pushed(Option<Vec<u8>>),
    News(Vec<u8>),
    Time,
}

impl Link {
    async fn converse(
        &mut self,
        mut pushed: Pushed,
        mut news: News,
    ) -> Result<std::convert::Infallible, End> {
        let mut bytes = vec![0; READ_SIZE];
        loop {
            self.decode()?;
            self.go_on(&mut news).await?;
            let waiting = self.out.len() - self.written;
            if self.closing && waiting == 0 {
                return Err(End::Ours);
            }
            if self.ended && self.answer.is_none() && self.page.is_none() && self.ready.is_empty() {
                return Err(End::Closed);
            }
            let hungry = self.ready.len() < ITEMS_MAX
                && self.ready_size < IN_SIZE
                && !self.closing
                && !self.ended;
            if waiting == 0 && news.ends_pause() {
                let drained = Word::Drained { link: self.id };
                if self.setting.words.send(drained).await.is_err() {
                    return Err(End::Ours);
                }
            }
            let (due, timed) = (self.due(waiting), self.timed(waiting));
            // What an answer tells of flows is older than the news that has come since.
            let answered = self.answer.is_none() && self.page.is_none() && self.parts.is_empty();
            let stream = &self.stream;
            let wake = tokio::select! {
                ready = stream.readable(), if hungry => { ready?; Wake::Read }
                ready = stream.writable(), if waiting > 0 => { ready?; Wake::Write }
                answer = wait(self.answer.as_mut()), if self.answer.is_some() => {
                    Wake::Answer(answer)
                }
                page = wait_page(self.page.as_mut()), if self.page.is_some() => Wake::Page(page),
                message = pushed.next(), if waiting < OUT_SIZE => Wake::Pushed(message),
                message = news.next(), if answered && waiting < OUT_SIZE => Wake::News(message),
                () = sleep_until(due), if timed => Wake::Time,
            };
            match wake {
                Wake::Read => self.read(&mut bytes)?,
                Wake::Write => self.write()?,
                Wake::Answer(answer) => {
                    self.answer = None;
                    let Some(answer) = answer else {
                        return Err(End::Ours);
                    };
                    self.parts.extend(answer.parts);
                    for item in answer.rest.into_iter().rev() {
                        self.ready.push_front(item);
                    }
                    self.closing |= answer.close;
                }
                Wake::Page(page) => {
                    self.page = None;
                    self.send(&page.bytes);
                    if let Some(dump) = page.rest {
                        self.parts.push_front(Part::Dump(dump));
                    }
                }
                Wake::Pushed(Some(message)) | Wake::News(message) => self.send(&message),
                Wake::Pushed(None) => return Err(End::Stuck),
                Wake::Time => self.check_time(waiting)?,
            }
        }
    }

    /// Decodes what has come whole.
    fn decode(&mut self) -> Result<(), End> {
        while self.ready.len() < ITEMS_MAX && self.ready_size < IN_SIZE {
            let Some(message) = self.framer.next_message().map_err(protocol)? else {
                break;
            };
            self.setting.copy(message);
            self.ready_size += message.len();
            let header = Header::decode(message).and_then(|header| header.require(self.version));
            let decoded = header.and_then(|()| Message::decode_with(message, self.dialect));
            let item = Item {
                head: Head::of(message),
                message: decoded.map(|decoded| decoded.message),
            };
            // What comes after it is read as it says.
            if let Ok(Message::FlowModTableId(table_id)) = item.message {
                self.dialect.table_id = table_id;
            }
            self.ready.push_back(item);
        }
        Ok(())
    }

    /// Does what can be done without waiting for anybody: parts of the answer into the socket's
    /// bytes, then the next turn.
    async fn go_on(&mut self, news: &mut News) -> Result<(), End> {
        while self.page.is_none() && self.out.len() - self.written < OUT_SIZE {
            match self.parts.pop_front() {
                Some(Part::Bytes(bytes)) => self.send(&bytes),
                Some(Part::News(count)) => {
                    if let Some(message) = news.next_of(count) {
                        self.send(&message);
                        self.parts.push_front(Part::News(count));
                    }
                }
                Some(Part::Dump(dump)) => {
                    let Setting {
                        datapath, dumps, ..
                    } = &self.setting;
                    let page = dump.next(datapath.clone(), dumps.clone());
                    self.page = Some(Box::pin(page));
                }
                None => break,
            }
        }
        let idle = self.answer.is_none() && self.page.is_none() && self.parts.is_empty();
        if idle
            && !self.ready.is_empty()
            && self.out.len() - self.written < OUT_SIZE
            && !self.closing
        {
            let (sender, answer) = oneshot::channel();
            let turn = Word::Turn {
                link: self.id,
                items: std::mem::take(&mut self.ready),
                answer: sender,
            };
            self.ready_size = 0;
            self.answer = Some(answer);
            if self.setting.words.send(turn).await.is_err() {
                return Err(End::Ours);
            }
        }
        Ok(())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        // More than one read makes a larger turn of what many small writes brought.
        for _ in 0..8 {
            match self.stream.try_read(bytes) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(size) => {
                    self.heard = Instant::now();
                    self.probed = false;
                    self.framer.push(bytes.get(..size).unwrap_or_default());
                    if size < bytes.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) {
        self.setting.copy_all(bytes);
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.took = Instant::now();
        }
        self.out.extend_from_slice(bytes);
        // Most often the socket takes it at once; an error is met again when it is waited for.
        let _ = self.write();
    }

    fn write(&mut self) -> Result<(), End> {
        while let Some(bytes) = self
            .out
            .get(self.written..)
            .filter(|bytes| !bytes.is_empty())
        {
            match self.stream.try_write(bytes) {
                Ok(size) => {
                    self.written += size;
                    self.took = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            // A long dump's room is given back.
            self.out.shrink_to(READ_SIZE);
        } else if self.written > OUT_SIZE {
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Whether time may end or probe the connection.
    fn timed(&self, waiting: usize) -> bool {
        self.setting.probe || waiting > 0
    }

    fn due(&self, waiting: usize) -> Instant {
        let probe = self.heard + if self.probed { PROBE * 2 } else { PROBE };
        let list = self.took.max(self.looked) + LIST_PATIENCE;
        let times = [
            self.setting.probe.then_some(probe),
            (waiting > 0).then_some(self.took + PATIENCE),
            (waiting > 0 && self.has_list()).then_some(list),
        ];
        let first = times.into_iter().flatten().min();
        first.unwrap_or(self.took + PATIENCE)
    }

    /// Whether a list of flows goes on when the peer has taken what waits for it.
    fn has_list(&self) -> bool {
        matches!(self.parts.front(), Some(Part::Dump(dump)) if dump.under_way.is_some())
    }

    fn check_time(&mut self, waiting: usize) -> Result<(), End> {
        let now = Instant::now();
        if waiting > 0 && now >= self.took + PATIENCE {
            return Err(End::Stuck);
        }
        if waiting > 0 && self.has_list() && now >= self.took + LIST_PATIENCE {
            if self.setting.dumps.is_wanted() {
                return Err(End::Hoards);
            }
            self.looked = now;
        }
        if !self.setting.probe {
            return Ok(());
        }
        if self.probed && now >= self.heard + PROBE * 2 {
            return Err(End::Silent(PROBE * 2));
        }
        if !self.probed && now >= self.heard + PROBE {
            self.probed = true;
            self.send(&super::hello::probe(self.version));
        }
        Ok(())
    }
}

/// The answer of the control loop, `None` when it will not come.
async fn wait(answer: Option<&mut oneshot::Receiver<Answer>>) -> Option<Answer> {
    match answer {
        Some(answer) => answer.await.ok(),
        None => std::future::pending().await,
    }
}

async fn wait_page(page: Option<&mut Pin<Box<dyn Future<Output = Page> + Send>>>) -> Page {
    match page {
        Some(page) => page.await,
        None => std::future::pending().await,
    }
}
