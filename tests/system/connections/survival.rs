//! Either process dies while connections are in use: what control knows is not what they live on,
//! and what the packet process knew is learned again from their packets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vswitch_tests::service::{self, Service, Talk};
use vswitch_tests::topology::Kind;
use vswitch_tests::traffic::{self, Stream};
use vswitch_tests::wait;

use super::{Rig, Trying, tell_of};

pub(super) const TRIALS: &[(&str, Trying)] = &[
    ("control_killed_loses_nothing", control_killed),
    ("datapath_killed_learns_again", datapath_killed),
];

const SHOWN: [u8; 4] = [10, 77, 240, 1];
const TALKS: usize = 20;

/// Whatever comes from the left is translated; only answers come from the right.
const FLOWS: &str = "\
table=0,in_port=left,ip actions=ct(zone=1,nat,table=1)
table=1,priority=20,ip,ct_state=+trk+inv actions=drop
table=1,priority=10,ip,ct_state=+trk+new actions=ct(commit,zone=1,nat(src=10.77.240.1)),right
table=1,priority=10,ip,ct_state=+trk+est actions=right
table=0,in_port=right,ip actions=ct(zone=1,nat,table=2)
table=2,ip,ct_state=+trk+est actions=left
";

/// Connections in use through NAT.
struct Talks {
    rig: Rig,
    service: Service,
    talks: Vec<(Talk, SocketAddr)>,
}

impl Talks {
    fn new(kind: Kind) -> Result<Self> {
        let rig = Rig::new(kind)?;
        tell_of(&rig.right, SHOWN.into(), &rig.left)?;
        rig.flows(FLOWS)?;
        let service = Service::start(&rig.right.namespace, "right", rig.right.v4, 80)?;
        let mut talks = Vec::new();
        for _ in 0..TALKS {
            let mut talk = Talk::open(&rig.left.namespace, service.target())?;
            let seen = talk.ask()?.seen;
            ensure!(seen.ip() == IpAddr::from(SHOWN), "{seen} is not translated");
            talks.push((talk, seen));
        }
        Ok(Self {
            rig,
            service,
            talks,
        })
    }

    /// Each goes on as who it was.
    fn go_on(&mut self) -> Result<()> {
        for (talk, seen) in &mut self.talks {
            let now = talk.ask()?.seen;
            ensure!(now == *seen, "{now} was {seen} before");
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        for (talk, _) in self.talks {
            talk.close()?;
        }
        Ok(())
    }

    /// Does `work`; its error comes with what the switch said.
    fn hold(mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let outcome = work(&mut self);
        outcome.with_context(|| super::said(&self.rig.topology))?;
        self.end()
    }
}

fn control_killed(kind: Kind) -> Result<()> {
    Talks::new(kind)?.hold(|talks| {
        let (left, right) = (&talks.rig.left, &talks.rig.right);
        let pause = Duration::from_millis(1);
        let stream = Stream::start(&left.namespace, &right.namespace, right.v4, pause)?;
        traffic::ping(&left.namespace, right.v4, 56, 30)?;

        talks.rig.topology.switch.kill_control()?;
        talks.go_on()?;
        // New ones begin as well.
        service::ask(&talks.rig.left.namespace, talks.service.target())?;
        talks.rig.topology.switch.start_control()?;
        talks.go_on()?;

        let count = stream.finish()?;
        ensure!(count.lost() == 0 && count.refused == 0, "{count:?}");
        Ok(())
    })
}

fn datapath_killed(kind: Kind) -> Result<()> {
    Talks::new(kind)?.hold(|talks| {
        let switch = &talks.rig.topology.switch;
        let killed = switch.datapath_pid();
        switch.kill_datapath()?;
        wait::until(Duration::from_secs(5), "a new datapath process", || {
            let now = switch.datapath_pid();
            Ok((now.is_some() && now != killed).then_some(()))
        })?;
        // The clients speak first, so each is translated again to the port it had.
        talks.go_on()?;
        talks.go_on()
    })
}
