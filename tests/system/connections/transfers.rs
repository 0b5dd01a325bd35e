//! FTP, whose commands say where the data connection will go, and TFTP, whose answers come from
//! another port: expected, let through and translated, while nothing else is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vswitch_tests::netns::Namespace;
use vswitch_tests::service::{self, Service};
use vswitch_tests::topology::Kind;
use vswitch_tests::traffic;

use super::{Rig, Trying, tell_of};

pub(super) const TRIALS: &[(&str, Trying)] = &[
    ("through_a_firewall", through_a_firewall),
    ("client_behind_nat", client_behind_nat),
    ("server_behind_nat", server_behind_nat),
];

const PATIENCE: Duration = Duration::from_secs(5);

/// Which end opens the data connection, and in which words it is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// PORT, IPv4 only.
    Port,
    /// EPRT.
    ExtendedPort,
    /// PASV, IPv4 only.
    Passive,
    /// EPSV.
    ExtendedPassive,
}

impl Mode {
    fn of(address: IpAddr) -> &'static [Self] {
        if address.is_ipv4() {
            &[
                Self::Port,
                Self::ExtendedPort,
                Self::Passive,
                Self::ExtendedPassive,
            ]
        } else {
            &[Self::ExtendedPort, Self::ExtendedPassive]
        }
    }
}

/// What a server has to give.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| ((i * 31) >> 3) as u8).collect()
}

/// `h1,h2,h3,h4,p1,p2` of RFC 959.
fn in_commas(at: SocketAddr) -> Result<String> {
    let IpAddr::V4(address) = at.ip() else {
        bail!("{at} is not IPv4");
    };
    let [a, b, c, d] = address.octets();
    let [p, q] = at.port().to_be_bytes();
    Ok(format!("{a},{b},{c},{d},{p},{q}"))
}

fn of_commas(text: &str) -> Result<SocketAddr> {
    let numbers: Result<Vec<u8>, _> = text.trim().split(',').map(str::parse).collect();
    let [a, b, c, d, p, q]: [u8; 6] = numbers?.try_into().ok().context("six numbers")?;
    Ok(SocketAddr::new(
        [a, b, c, d].into(),
        u16::from_be_bytes([p, q]),
    ))
}

/// `|1|address|port|` of RFC 2428.
fn in_bars(at: SocketAddr) -> String {
    let family = if at.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{}|{}|", at.ip(), at.port())
}

fn of_bars(text: &str) -> Result<SocketAddr> {
    let parts: Vec<&str> = text.trim().split('|').collect();
    let ["", _, address, port, ""] = parts[..] else {
        bail!("{text} is not |family|address|port|");
    };
    Ok(SocketAddr::new(address.parse()?, port.parse()?))
}

/// One end of a control connection.
struct Control {
    lines: BufReader<TcpStream>,
}

impl Control {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            lines: BufReader::new(stream),
        })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        // One write is one segment.
        Ok(self
            .lines
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())?)
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines
            .read_line(&mut line)
            .context("the other end says nothing")?;
        Ok(line.trim_end().to_owned())
    }

    /// Hears a line with this number.
    fn hear_number(&mut self, number: &str) -> Result<String> {
        let line = self.hear()?;
        ensure!(line.starts_with(number), "{line:?} instead of {number}");
        Ok(line)
    }

    fn local(&self) -> Result<SocketAddr> {
        Ok(self.lines.get_ref().local_addr()?)
    }

    fn peer(&self) -> Result<SocketAddr> {
        Ok(self.lines.get_ref().peer_addr()?)
    }
}

/// Where the server's data goes.
enum Data {
    To(SocketAddr),
    At(TcpListener),
}

/// A server for one control connection on port 21.
fn serve(host: &Namespace, address: IpAddr) -> Result<JoinHandle<Result<()>>> {
    let listener = host.run(|| Ok(TcpListener::bind((address, 21))?))?;
    host.spawn(move || {
        let (stream, _) = listener.accept()?;
        let mut control = Control::new(stream)?;
        control.say("220 ready")?;
        let mut data = None;
        loop {
            let line = control.hear()?;
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match command {
                "PORT" | "EPRT" => {
                    let to = if command == "PORT" {
                        of_commas(argument)
                    } else {
                        of_bars(argument)
                    }?;
                    // As servers do: no data for a third one (RFC 2577 §3).
                    let client = control.peer()?.ip();
                    ensure!(to.ip() == client, "{line}, but the client is {client}");
                    data = Some(Data::To(to));
                    control.say("200 so be it")?;
                }
                "PASV" | "EPSV" => {
                    let listener = TcpListener::bind((control.local()?.ip(), 0))?;
                    let at = listener.local_addr()?;
                    let answer = if command == "PASV" {
                        format!("227 Entering Passive Mode ({}).", in_commas(at)?)
                    } else {
                        format!("229 Entering Extended Passive Mode (|||{}|)", at.port())
                    };
                    data = Some(Data::At(listener));
                    control.say(&answer)?;
                }
                "RETR" => {
                    control.say("150 here it comes")?;
                    let mut stream = match data.take().context("RETR before PORT or PASV")? {
                        Data::To(to) => TcpStream::connect_timeout(&to, PATIENCE)
                            .with_context(|| format!("no data connection to {to}"))?,
                        Data::At(listener) => listener.accept()?.0,
                    };
                    stream.write_all(&content())?;
                    drop(stream);
                    control.say("226 that was it")?;
                }
                "QUIT" => return control.say("221 bye"),
                _ => control.say("502 not here")?,
            }
        }
    })
}

/// Fetches what the server at `target` has, in every mode, over one control connection.
fn fetch(from: &Namespace, target: IpAddr) -> Result<()> {
    from.run(|| {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(target, 21), PATIENCE)?;
        let mut control = Control::new(stream)?;
        control.hear_number("220")?;
        for &mode in Mode::of(target) {
            let got = retrieve(&mut control, mode).with_context(|| format!("{mode:?}"))?;
            ensure!(got == content(), "{mode:?}: {} other bytes", got.len());
        }
        // Numbers that were moved stay so for what has nothing to do with data.
        control.say("NOOP")?;
        control.hear_number("502")?;
        control.say("QUIT")?;
        control.hear_number("221")?;
        Ok(())
    })
}

fn retrieve(control: &mut Control, mode: Mode) -> Result<Vec<u8>> {
    let server = control.peer()?.ip();
    let mut stream = match mode {
        Mode::Port | Mode::ExtendedPort => {
            let listener = TcpListener::bind((control.local()?.ip(), 0))?;
            let at = listener.local_addr()?;
            let command = if mode == Mode::Port {
                format!("PORT {}", in_commas(at)?)
            } else {
                format!("EPRT {}", in_bars(at))
            };
            control.say(&command)?;
            control.hear_number("200")?;
            control.say("RETR it")?;
            control.hear_number("150")?;
            accept(&listener)?
        }
        Mode::Passive | Mode::ExtendedPassive => {
            let passive = mode == Mode::Passive;
            control.say(if passive { "PASV" } else { "EPSV" })?;
            let line = control.hear_number(if passive { "227" } else { "229" })?;
            let inside = line.split(['(', ')']).nth(1).context("no parentheses")?;
            let to = if passive {
                of_commas(inside)?
            } else {
                let port = inside.trim_matches('|').parse()?;
                SocketAddr::new(server, port)
            };
            ensure!(to.ip() == server, "{line}, but the server is {server}");
            control.say("RETR it")?;
            control.hear_number("150")?;
            TcpStream::connect_timeout(&to, PATIENCE).context("no data connection")?
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    control.hear_number("226")?;
    Ok(got)
}

/// Accepts one connection, or gives up.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let stream = vswitch_tests::wait::until(PATIENCE, "the data connection comes", || {
        Ok(listener.accept().ok().map(|(stream, _)| stream))
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Bytes of a block of TFTP; a shorter one is the last (RFC 1350 §2).
const BLOCK: usize = 512;
/// What a server of TFTP has to give: two blocks.
const SMALL: usize = 700;

/// A server for one request on port 69, which answers from another port.
fn serve_blocks(host: &Namespace, address: IpAddr) -> Result<JoinHandle<Result<()>>> {
    let socket = host.run(|| Ok(UdpSocket::bind((address, 69))?))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    host.spawn(move || {
        let mut buffer = [0; 1024];
        let (_, client) = socket.recv_from(&mut buffer).context("no request")?;
        let transfer = UdpSocket::bind((address, 0))?;
        transfer.set_read_timeout(Some(PATIENCE))?;
        transfer.connect(client)?;
        for (number, block) in (1..).zip(content()[..SMALL].chunks(BLOCK)) {
            transfer.send(&[&[0, 3, 0, number], block].concat())?;
            let size = transfer.recv(&mut buffer).context("no acknowledgement")?;
            ensure!(buffer[..size] == [0, 4, 0, number], "{:?}", &buffer[..size]);
        }
        Ok(())
    })
}

/// Fetches what the server at `target` has, by TFTP.
fn fetch_blocks(from: &Namespace, target: IpAddr) -> Result<()> {
    let socket = from.run(|| Ok(UdpSocket::bind((traffic::unspecified(target), 0))?))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"\0\x01it\0octet\0", (target, 69))?;
    let mut got = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let (size, peer) = socket.recv_from(&mut buffer).context("no block")?;
        ensure!(
            peer.ip() == target && peer.port() != 69,
            "a block of {peer}"
        );
        let [0, 3, 0, number, ref block @ ..] = buffer[..size] else {
            bail!("{:?} is no block", &buffer[..size]);
        };
        got.extend_from_slice(block);
        socket.send_to(&[0, 4, 0, number], peer)?;
        if block.len() < BLOCK {
            break;
        }
    }
    ensure!(got == content()[..SMALL], "TFTP: {} other bytes", got.len());
    Ok(())
}

/// Who is not known by its own address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nobody,
    Client,
    Server,
}

/// Addresses of the hosts' subnets that no host has.
fn spare() -> [IpAddr; 2] {
    ["10.77.240.1", "fd00:77::f0:1"].map(|address| address.parse().expect("an address"))
}

/// Requests begin from the left and are translated; data connections are let through because they
/// are expected, and nothing else is.
fn flows(target: IpAddr, nat: Option<&str>) -> String {
    let (ip, tcp, udp, dst) = match target {
        IpAddr::V4(_) => ("ip", "tcp", "udp", "nw_dst"),
        IpAddr::V6(_) => ("ipv6", "tcp6", "udp6", "ipv6_dst"),
    };
    let (nat, known) = match nat {
        Some(nat) => (format!(",nat({nat})"), ",nat"),
        None => (String::new(), ""),
    };
    let mut flows = format!("table=0,{ip} actions=ct(zone=1{known},table=1)\n");
    for (transport, port, helper) in [(tcp, 21, "ftp"), (udp, 69, "tftp")] {
        flows += &format!(
            "table=1,priority=20,{transport},ct_state=+trk+new-rel,in_port=left,{dst}={target},\
             tp_dst={port} actions=ct(commit,zone=1,alg={helper}{nat}),right\n"
        );
    }
    for (from, to) in [("left", "right"), ("right", "left")] {
        flows += &format!(
            "table=1,priority=30,{ip},ct_state=+trk+new+rel,in_port={from} \
             actions=ct(commit,zone=1{known}),{to}\n\
             table=1,priority=10,{ip},ct_state=+trk+est,in_port={from} actions={to}\n"
        );
    }
    flows
}

/// Everything is fetched from the right, over both families.
fn everything(kind: Kind, behind: Behind) -> Result<()> {
    let rig = Rig::new(kind)?;
    let mut all = String::new();
    let mut servers = Vec::new();
    for (shown, server) in spare().into_iter().zip([rig.right.v4, rig.right.v6]) {
        let (target, nat) = match behind {
            Behind::Nobody => (server, None),
            Behind::Client => {
                tell_of(&rig.right, shown, &rig.left)?;
                (server, Some(format!("src={shown}")))
            }
            Behind::Server => {
                tell_of(&rig.left, shown, &rig.right)?;
                (shown, Some(format!("dst={server}")))
            }
        };
        all += &flows(target, nat.as_deref());
        servers.push((target, server));
    }
    rig.flows(&all)?;
    rig.hold(|rig| {
        let (left, right) = (&rig.left.namespace, &rig.right.namespace);
        for (target, address) in servers {
            let server = serve(right, address)?;
            fetch(left, target)?;
            server.join().expect("the server does not panic")?;
            let server = serve_blocks(right, address)?;
            fetch_blocks(left, target)?;
            server.join().expect("the server does not panic")?;
            let other = Service::start(right, "right", address, 0)?;
            service::ensure_no_way(left, SocketAddr::new(target, other.target().port()))?;
        }
        Ok(())
    })
}

fn through_a_firewall(kind: Kind) -> Result<()> {
    everything(kind, Behind::Nobody)
}

fn client_behind_nat(kind: Kind) -> Result<()> {
    everything(kind, Behind::Client)
}

fn server_behind_nat(kind: Kind) -> Result<()> {
    everything(kind, Behind::Server)
}
