//! The flows of the benchmark, as text for `ovs-ofctl`.

use std::fmt::Write as _;

use vswitch_flow::{Action, Field, FlowCommand, FlowMod, FlowRule, Instructions, Match, OfPort};

/// Tables that a packet goes through on the miss path.
const TABLES: usize = 10;

/// Flows in all of them.
const RULES: usize = 1000;

/// Flows with four masks that no packet of the benchmark matches: addresses in 172.16.0.0/12, and
/// MAC addresses that nobody has.
pub(crate) fn many(len: usize) -> String {
    let mut text = String::new();
    for at in 0..len {
        let [_, a, b, c] = (at as u32).to_be_bytes();
        let address = format!("172.{}.{b}.{c}", 16 + a);
        let matches = match at % 4 {
            0 => format!("priority=100,ip,nw_dst={address}"),
            1 => format!("priority=110,tcp,nw_dst={address},tp_dst=80"),
            2 => format!("priority=120,udp,nw_src={address},nw_dst=172.31.0.0/16"),
            _ => format!("priority=130,in_port=1,dl_dst=06:00:00:{a:02x}:{b:02x}:{c:02x}"),
        };
        writeln!(text, "{matches},actions=output:2").expect("a string takes any text");
    }
    text
}

/// The first of [`many`], led to another port.
pub(crate) fn change_one(port: u32) -> FlowMod {
    let rule = FlowRule {
        priority: 100,
        matches: Match::any()
            .with(Field::EthType, 0x0800)
            .with(Field::Ipv4Dst, 0xac10_0000),
        instructions: Instructions::apply([Action::Output(OfPort(port))]),
        ..FlowRule::default()
    };
    FlowMod::new(FlowCommand::Add, rule)
}

/// What leads packets between the two ports beside [`many`]. Each UDP source port is a flow of its
/// own to a cache, since its packets are told apart by it.
pub(crate) const FORWARD: &str = "\
priority=20,in_port=1,udp,actions=move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],output:2
priority=10,in_port=1,actions=output:2
priority=10,in_port=2,actions=output:1
";

/// A thousand flows of twenty masks in ten tables that packets pass without matching one, and a last
/// one in each that leads on. The first reads address and ports, so that every packet with others
/// is new to a cache.
pub(crate) fn miss_path() -> String {
    let mut text = String::new();
    for table in 0..TABLES {
        for at in 0..RULES / TABLES {
            let (mask, number) = (at % 20, at / 20);
            let [src, dst] = [[0, 8, 16, 24, 32][mask % 5], [0, 16, 24, 32][mask / 5]];
            let mut matches = format!("priority={},udp", 100 + mask);
            for (name, bits, net) in [("nw_src", src, 172), ("nw_dst", dst, 173)] {
                if bits > 0 {
                    let third = if bits >= 24 { number } else { 0 };
                    let fourth = if bits == 32 { table + 1 } else { 0 };
                    let second = if bits >= 16 { 16 + number } else { 0 };
                    // Only the first octet is left to tell the flows of a short mask apart.
                    let first = if bits == 8 { net + number } else { net };
                    write!(matches, ",{name}={first}.{second}.{third}.{fourth}/{bits}")
                        .expect("a string takes any text");
                }
            }
            if mask == 0 {
                write!(matches, ",tp_dst={}", 61_000 + number).expect("a string takes any text");
            }
            writeln!(text, "table={table},{matches},actions=drop")
                .expect("a string takes any text");
        }
        let read = "move:NXM_OF_IP_SRC[]->NXM_NX_REG1[],move:NXM_OF_UDP_SRC[]->NXM_NX_REG2[0..15],\
                    move:NXM_OF_UDP_DST[]->NXM_NX_REG2[16..31],";
        let read = if table == 0 { read } else { "" };
        let next = match table + 1 {
            TABLES => "output:2".to_owned(),
            next => format!("resubmit(,{next})"),
        };
        writeln!(text, "table={table},priority=1,udp,actions={read}{next}")
            .expect("a string takes any text");
    }
    text
}
