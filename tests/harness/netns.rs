//! Hosts: network namespaces with a name, and work done inside them.

use std::path::PathBuf;
use std::process::Output;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use vswitch_sys::netns::Netns;

use crate::programs::{collect, limited, must};

/// A network namespace that tests act in: one they made, or the one they run in themselves.
#[derive(Debug)]
pub struct Namespace {
    /// `None`: the namespace of the sandbox itself, where the switch runs.
    name: Option<String>,
    /// We made it, so we remove it.
    made: bool,
    netns: Netns,
}

impl Namespace {
    /// The namespace of the calling thread.
    pub fn here() -> Result<Self> {
        let netns = Netns::current().context("the own namespace")?;
        let here = Self {
            name: None,
            made: false,
            netns,
        };
        here.prepare()?;
        Ok(here)
    }

    /// Makes a namespace with loopback up, and removes it when dropped.
    pub fn create(name: &str) -> Result<Self> {
        must(limited("ip").args(["netns", "add", name]))?;
        let netns = Netns::named(name).with_context(|| format!("namespace {name}"))?;
        let made = Self {
            name: Some(name.to_owned()),
            made: true,
            netns,
        };
        made.prepare()?;
        made.ip(&["link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// One that somebody else made and removes.
    pub fn named(name: &str) -> Result<Self> {
        let netns = Netns::named(name).with_context(|| format!("namespace {name}"))?;
        Ok(Self {
            name: Some(name.to_owned()),
            made: false,
            netns,
        })
    }

    /// Two of them, `<label>-left` and `<label>-right`.
    pub fn pair(label: &str) -> Result<[Self; 2]> {
        Ok([
            Self::create(&format!("{label}-left"))?,
            Self::create(&format!("{label}-right"))?,
        ])
    }

    /// Makes IPv6 addresses usable at once.
    fn prepare(&self) -> Result<()> {
        self.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        self.sysctl("net/ipv6/conf/all/accept_dad", "0")
    }

    /// Its name for `ip`, where it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Runs `work` inside, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.netns
            .run(work)
            .context("could not enter the namespace")?
    }

    /// Starts `work` inside and goes on; whoever joins the thread gets the result.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let netns = self.netns.try_clone()?;
        Ok(std::thread::spawn(move || {
            netns.enter().context("could not enter the namespace")?;
            work()
        }))
    }

    /// Runs a program inside; an error when it fails.
    pub fn must(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run(|| must(limited(program).args(arguments)))
    }

    /// Runs a program inside, whatever its status.
    pub fn collect(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.run(|| collect(limited(program).args(arguments)))
    }

    /// `ip` inside.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        match &self.name {
            Some(name) => must(limited("ip").args(["-n", name]).args(arguments)),
            None => must(limited("ip").args(arguments)),
        }
    }

    /// Writes a setting below `/proc/sys`, which is the entering thread's own there.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let file = PathBuf::from("/proc/sys").join(key);
        self.run(|| {
            std::fs::write(&file, value)
                .with_context(|| format!("could not write {value} to {}", file.display()))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(name) = self.name.as_ref().filter(|_| self.made) {
            // It may be gone already, and a drop has nobody to tell.
            let _ = collect(limited("ip").args(["netns", "del", name]));
        }
    }
}
