//! What this process says, how loudly, and where: the log, with levels that can be changed while it
//! runs.
//!
//! There are two destinations, the console (standard error) and a file if one was named. Each has a
//! level for each module, a module being a room of this crate; what our libraries say is the module
//! `libraries`. Open vSwitch's third destination, the system log, is not offered: whoever starts us
//! keeps what we say on the console.
//!
//! Law: what the table of levels says is in force when [`Log::set`] has returned. `emer` lets
//! nothing pass, as nothing here is an emergency.
//!
//! Spec: `vlog/set`, `vlog/list`, `vlog/reopen` in ovs-vswitchd(8), `lib/vlog.c` of Open vSwitch.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// The modules, each with the part of the program whose words are its own.
const MODULES: [(&str, &str); 18] = [
    ("command", "vswitchd::command"),
    ("control", "vswitchd::control"),
    ("coverage", "vswitchd::coverage"),
    ("dataplane", "vswitchd::dataplane"),
    ("driver", "vswitchd::driver"),
    ("host", "vswitchd::host"),
    ("ipam", "vswitchd::ipam"),
    ("libraries", ""),
    ("listen", "vswitchd::listen"),
    ("log", "vswitchd::log"),
    ("main", "vswitchd"),
    ("model", "vswitchd::model"),
    ("names", "vswitchd::names"),
    ("openflow", "vswitchd::openflow"),
    ("plan", "vswitchd::plan"),
    ("rpc", "vswitchd::rpc"),
    ("store", "vswitchd::store"),
    ("unixctl", "vswitchd::unixctl"),
];

/// How grave something has to be to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Off,
    Emer,
    Err,
    Warn,
    Info,
    Dbg,
}

impl Level {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Off, "OFF"),
        (Self::Emer, "EMER"),
        (Self::Err, "ERR"),
        (Self::Warn, "WARN"),
        (Self::Info, "INFO"),
        (Self::Dbg, "DBG"),
    ];

    fn parse(word: &str) -> Option<Self> {
        let row = Self::ALL
            .iter()
            .find(|row| row.1.eq_ignore_ascii_case(word));
        row.map(|row| row.0)
    }

    fn name(self) -> &'static str {
        let row = Self::ALL.iter().find(|row| row.0 == self);
        row.map_or("", |row| row.1)
    }

    fn of(filter: LevelFilter) -> Self {
        match filter {
            LevelFilter::OFF => Self::Off,
            LevelFilter::ERROR => Self::Err,
            LevelFilter::WARN => Self::Warn,
            LevelFilter::INFO => Self::Info,
            _ => Self::Dbg,
        }
    }
}

/// A module's place in [`MODULES`].
type Module = usize;

/// Why a level was not set or a file not opened, in the words of Open vSwitch where it has some.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The word is nothing.
    #[error("no destination, level, or module \"{0}\"")]
    Unknown(String),
    /// Two of a kind.
    #[error("cannot specify multiple {0}")]
    Multiple(&'static str),
    /// A setting that this log does not have.
    #[error("the {0} of this log cannot be set")]
    Fixed(&'static str),
    /// There is no such destination.
    #[error("this switch does not log to syslog: its destinations are console and file")]
    NoSyslog,
    /// No file was named at the start.
    #[error("Logging to file not configured")]
    NoFile,
    /// The file cannot be opened.
    #[error("the log file {} cannot be opened: {error}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The levels could not be put in force.
    #[error("the levels cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Where the file's words go; nowhere while it is closed.
#[derive(Debug, Default)]
struct FileWriter(Mutex<Option<File>>);

impl FileWriter {
    fn replace(&self, file: Option<File>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }
}

impl Write for &FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Apply = Box<dyn Fn(Targets) -> Result<(), reload::Error> + Send + Sync>;

/// One destination.
struct Destination {
    levels: [Level; MODULES.len()],
    apply: Apply,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Destination").field(&self.levels).finish()
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    console: Destination,
    file: Destination,
    path: Option<PathBuf>,
    writer: Arc<FileWriter>,
    /// What `dbg` lets pass: more than debugging when that was asked for at the start.
    dbg: LevelFilter,
}

impl Log {
    /// A log whose levels are all `level`, and what has to be installed for it to be heard. The file
    /// at `path` is opened.
    pub fn new(
        level: LevelFilter,
        path: Option<PathBuf>,
    ) -> Result<(Self, impl Subscriber + Send + Sync), LogError> {
        Self::with_console(level, path, io::stderr)
    }

    fn with_console<W>(
        level: LevelFilter,
        path: Option<PathBuf>,
        console: W,
    ) -> Result<(Self, impl Subscriber + Send + Sync), LogError>
    where
        W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
    {
        let writer = Arc::new(FileWriter::default());
        let (console, console_apply) = layer(console);
        let (file, file_apply) = layer(Arc::clone(&writer));
        let subscriber = Registry::default().with(console).with(file);
        let destination = |apply| Destination {
            levels: [Level::of(level); MODULES.len()],
            apply,
        };
        let mut log = Self {
            console: destination(console_apply),
            file: destination(file_apply),
            path,
            writer,
            dbg: level.max(LevelFilter::DEBUG),
        };
        if log.path.is_some() {
            log.reopen()?;
        }
        log.apply()?;
        Ok((log, subscriber))
    }

    fn apply(&self) -> Result<(), LogError> {
        for destination in [&self.console, &self.file] {
            let filters = MODULES.iter().zip(destination.levels);
            let filters = filters.map(|((_, target), level)| (*target, self.filter(level)));
            let mut targets = Targets::new();
            for (target, filter) in filters {
                targets = match target {
                    "" => targets.with_default(filter),
                    _ => targets.with_target(target, filter),
                };
            }
            (destination.apply)(targets)?;
        }
        Ok(())
    }

    fn filter(&self, level: Level) -> LevelFilter {
        match level {
            Level::Off | Level::Emer => LevelFilter::OFF,
            Level::Err => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Dbg => self.dbg,
        }
    }

    /// `vlog/set`: each word of `specs` sets levels; none sets everything to `dbg`. What comes
    /// before a word that is refused stays set.
    pub fn set(&mut self, specs: &[String]) -> Result<(), LogError> {
        let everything = ["ANY".to_owned()];
        let specs = if specs.is_empty() { &everything } else { specs };
        let result = specs.iter().try_for_each(|spec| self.set_one(spec));
        self.apply()?;
        result
    }

    fn set_one(&mut self, spec: &str) -> Result<(), LogError> {
        let separators = [' ', ',', ':', '\t'];
        let words = spec.split(separators).filter(|word| !word.is_empty());
        let mut level = None;
        let mut module = None;
        let mut destination: Option<&str> = None;
        for (place, word) in words.enumerate() {
            let is = |name: &str| word.eq_ignore_ascii_case(name);
            if place == 0 && is("PATTERN") {
                return Err(LogError::Fixed("pattern"));
            }
            if place == 0 && is("FACILITY") {
                return Err(LogError::Fixed("facility"));
            }
            let named = ["console", "syslog", "file"]
                .into_iter()
                .find(|name| is(name));
            if is("ANY") {
                continue;
            } else if named.is_some() {
                once(&mut destination, named, "destinations")?;
            } else if let Some(found) = Level::parse(word) {
                once(&mut level, Some(found), "levels")?;
            } else if let Some(found) = find_module(word) {
                once(&mut module, Some(found), "modules")?;
            } else {
                return Err(LogError::Unknown(word.to_owned()));
            }
        }
        let level = level.unwrap_or(Level::Dbg);
        let destinations: &mut [&mut Destination] = match destination {
            Some("console") => &mut [&mut self.console],
            Some("file") => &mut [&mut self.file],
            Some(_) if level == Level::Off => &mut [],
            Some(_) => return Err(LogError::NoSyslog),
            None => &mut [&mut self.console, &mut self.file],
        };
        for destination in destinations {
            let levels = destination.levels.iter_mut().enumerate();
            for (place, of_module) in levels {
                if module.is_none_or(|module| module == place) {
                    *of_module = level;
                }
            }
        }
        Ok(())
    }

    /// `vlog/list`.
    pub fn list(&self) -> String {
        let mut text = "                 console    syslog    file\n\
                        \x20                -------    ------    ------\n"
            .to_owned();
        let levels = self.console.levels.iter().zip(&self.file.levels);
        for ((module, _), (console, file)) in MODULES.iter().zip(levels) {
            writeln!(
                text,
                "{module:<16}  {:>4}       {:>4}       {:>4}",
                console.name(),
                Level::Off.name(),
                file.name()
            )
            .expect("a String takes everything");
        }
        text
    }

    /// `vlog/reopen`: goes on in a new file of the same name, after the old one was moved away.
    pub fn reopen(&mut self) -> Result<(), LogError> {
        let path = self.path.as_ref().ok_or(LogError::NoFile)?;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
            .map_err(|error| LogError::Open {
                path: path.clone(),
                error,
            })?;
        self.writer.replace(Some(file));
        Ok(())
    }

    /// `vlog/close`: the file is written to no more, until it is reopened.
    pub fn close(&mut self) {
        self.writer.replace(None);
    }
}

fn once<T>(known: &mut Option<T>, found: Option<T>, what: &'static str) -> Result<(), LogError> {
    if known.is_some() {
        return Err(LogError::Multiple(what));
    }
    *known = found;
    Ok(())
}

fn find_module(word: &str) -> Option<Module> {
    let word = word.replace('-', "_");
    let mut names = MODULES.iter().map(|(name, _)| name);
    names.position(|name| name.eq_ignore_ascii_case(&word))
}

/// A destination's half of the subscriber, and the handle on its levels.
fn layer<S, W>(writer: W) -> (impl Layer<S> + Send + Sync, Apply)
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(Targets::new());
    let layer = fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        .with_filter(filter);
    (layer, Box::new(move |targets| handle.reload(targets)))
}

#[cfg(test)]
mod tests {
    use std::sync::MutexGuard;

    use super::*;

    /// Held by whoever changes levels and listens: `tracing` remembers for the whole process which
    /// places anybody listens to, and works that out anew while others' levels change.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(level: LevelFilter) -> (Log, impl Subscriber + Send + Sync, Arc<Mutex<Vec<u8>>>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let console = move || Sink(Arc::clone(&sink));
        let (log, subscriber) = Log::with_console(level, None, console).unwrap();
        (log, subscriber, said)
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    fn speak() {
        tracing::debug!(target: "vswitchd::control::look", "quiet");
        tracing::info!(target: "vswitchd::control::look", "normal");
        tracing::warn!(target: "vswitchd::host", "loud");
        tracing::info!(target: "vswitchd", "from main");
        tracing::info!(target: "somelib", "from afar");
    }

    fn heard(said: &Mutex<Vec<u8>>) -> Vec<String> {
        let bytes = std::mem::take(&mut *said.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let after_target = |line: &str| line.rsplit(": ").next().unwrap_or_default().to_owned();
        text.lines().map(after_target).collect()
    }

    #[test]
    fn levels_change_what_is_heard_at_once() {
        let _alone = alone();
        let (mut log, subscriber, said) = log(LevelFilter::INFO);
        tracing::subscriber::with_default(subscriber, || {
            speak();
            assert_eq!(heard(&said), ["normal", "loud", "from main", "from afar"]);
            log.set(&words("control:dbg main,off console:libraries:WARN"))
                .unwrap();
            speak();
            assert_eq!(heard(&said), ["quiet", "normal", "loud"]);
            log.set(&words("ANY:console:emer host:err")).unwrap();
            speak();
            assert!(heard(&said).is_empty());
            log.set(&[]).unwrap();
            speak();
            assert_eq!(heard(&said).len(), 5);
        });
    }

    #[test]
    fn the_table_has_the_columns_of_open_vswitch() {
        let _alone = alone();
        let (mut log, _subscriber, _) = log(LevelFilter::INFO);
        log.set(&words("host:file:dbg")).unwrap();
        let text = log.list();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "                 console    syslog    file");
        assert_eq!(lines[1], "                 -------    ------    ------");
        assert_eq!(lines[2], "command           INFO        OFF       INFO");
        assert!(lines.contains(&"host              INFO        OFF        DBG"));
        assert!(lines[2..].is_sorted());
    }

    #[test]
    fn words_that_say_nothing_or_too_much_are_refused() {
        let _alone = alone();
        let (mut log, _subscriber, _) = log(LevelFilter::INFO);
        for (spec, error) in [
            ("foo", "no destination, level, or module \"foo\""),
            ("dbg:info", "cannot specify multiple levels"),
            ("host,rpc", "cannot specify multiple modules"),
            ("console:file", "cannot specify multiple destinations"),
            (
                "PATTERN:console:%m",
                "the pattern of this log cannot be set",
            ),
            (
                "syslog:info",
                "this switch does not log to syslog: its destinations are console and file",
            ),
        ] {
            let refused = log.set(&words(spec)).unwrap_err();
            assert_eq!(refused.to_string(), error);
        }
        log.set(&words("syslog:off")).expect("it is");
        assert_eq!(
            log.reopen().unwrap_err().to_string(),
            "Logging to file not configured"
        );
    }

    #[test]
    fn after_a_rotation_the_new_file_is_written() {
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vswitchd.log");
        let old = dir.path().join("vswitchd.log.1");
        let (mut log, subscriber) =
            Log::with_console(LevelFilter::INFO, Some(path.clone()), io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            std::fs::rename(&path, &old).unwrap();
            tracing::info!("two");
            log.reopen().unwrap();
            tracing::info!("three");
            log.close();
            tracing::info!("four");
        });
        let text = std::fs::read_to_string(&old).unwrap();
        assert!(text.contains("one") && text.contains("two"), "{text}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("three") && !text.contains("four"), "{text}");
    }

    #[test]
    fn every_room_is_a_module() {
        let rooms = include_str!("lib.rs").lines();
        let rooms = rooms.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        for room in rooms {
            let target = format!("vswitchd::{room}");
            let row = MODULES.iter().find(|row| row.1 == target);
            assert!(row.is_some(), "{room} is no module of the log");
        }
        assert!(MODULES.is_sorted_by_key(|row| row.0));
    }
}
