//! Routers: make and remove them and their ports, routes one by one and by the million, neighbours, and
//! the addresses that they have given.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;

use clap::error::ErrorKind;
use serde_json::{Value, json};
use vswitch_rpc::route::{self, Route, RouteError};
use vswitch_rpc::router::{
    AddRouter, AddRouterPort, AddRoutes, Added, DelRouter, DelRouterPort, DelRoutes, FindRoute,
    FlushNeighbours, Found, Info, Lease, Leases, Neighbours, Routes, SetRouterPort, ShowNeighbours,
    ShowRouters, ShowRoutes,
};
use vswitch_rpc::{Code, Refusal};

use super::Argument::{Flag, Optional, Options, Required, Several, Valued};
use super::openflow::Answer;
use super::{Argument, BRIDGE, Command, PORT, Run, example, nothing, prints};
use crate::args::Typed;
use crate::client::Client;
use crate::error::Failure;
use crate::output::Page;
use crate::output::table::Align::{Left, Right};
use crate::output::table::Table;

const ROUTER: Argument = Required("ROUTER", "The router");

/// Routes in one message: some hundred kilobytes.
const BATCH_LEN: usize = 20_000;

/// Rows in one answer.
const PAGE_LEN: u64 = 50_000;

/// What the settings of a router's port are.
const PORT_SETTINGS: &str = "address=A/L,..     its addresses, with the lengths of their networks\n\
     tag=VLAN           the VLAN it is in; without it that of untagged packets\n\
     addr=MAC           its address on the bridge; without it one is chosen\n\
     mtu=N              largest layer-3 packet of the network, 1500 without it\n\
     of_port=N          its OpenFlow number on the bridge\n\
     proxy_arp=true     answer ARP for what is behind the router\n\
     advertise=true     tell IPv6 hosts of the router and its networks\n\
     advertise_interval=S, advertise_lifetime=S\n\
     dhcp_range=A-B,..  give these IPv4 addresses to hosts that ask\n\
     dhcp_host=MAC@A,.. give this address to this host\n\
     dhcp_lease=S       for so many seconds, 3600 without it\n\
     dhcpv6=true        answer hosts that ask for servers of names\n\
     dns=A,..           servers of names that hosts are told of\n\
     snat=masquerade    what leaves has the port's address; or ADDRESS[-ADDRESS][:PORT-PORT],..\n\
     dnat=PROTOCOL:ADDRESS:PORT[-PORT]=HOST[:PORT],..\n\
                        connections to the port's address are for a host behind the router";

pub(super) const ADD: Command = Command {
    words: &["router", "add"],
    aliases: &[],
    arguments: &[
        ROUTER,
        Options {
            help: "Settings of the router",
            required: false,
        },
    ],
    help: "Make a router",
    long: "A router has ports, routes and neighbours that no other router knows, so two routers may \
           have the same networks.\n\n\
           neighbours=N  most neighbours that it knows, 16384 without it\n\
           icmp_rate=N   ICMP errors that each of its ports sends a second, 100 without it\n\
           zone=N        the zone of the connections that it translates",
    examples: &[
        example("vsctl router add r1", "A router"),
        example(
            "vsctl router add blue icmp_rate=10",
            "Another, that complains little",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(AddRouter {
                name: typed.text("ROUTER"),
                options: typed.options()?,
            }
            .into())
        },
        prints!(AddRouter, nothing),
    ),
};

pub(super) const DEL: Command = Command {
    words: &["router", "rm"],
    aliases: &[],
    arguments: &[ROUTER],
    help: "Remove a router with its routes",
    long: "Its ports have to be removed before.",
    examples: &[example("vsctl router rm r1", "Remove r1")],
    run: Run::Ask(
        |typed| {
            Ok(DelRouter {
                name: typed.text("ROUTER"),
            }
            .into())
        },
        prints!(DelRouter, nothing),
    ),
};

pub(super) const SHOW: Command = Command {
    words: &["router", "show"],
    aliases: &[],
    arguments: &[Optional("ROUTER", "Only this router")],
    help: "Show routers and their ports",
    long: "One line for each port: its bridge, VLAN, MAC address, MTU and addresses, and below it what \
           else was set.",
    examples: &[
        example("vsctl router show", "All routers"),
        example("vsctl router show r1 --json", "One, for a program"),
    ],
    run: Run::Ask(
        |typed| {
            Ok(ShowRouters {
                name: typed.optional("ROUTER"),
            }
            .into())
        },
        prints!(ShowRouters, print_routers),
    ),
};

pub(super) const LEASES: Command = Command {
    words: &["router", "leases"],
    aliases: &[],
    arguments: &[Optional("ROUTER", "Only this router")],
    help: "Show the addresses that routers have given to hosts",
    long: "By DHCP. The time is what is left until the address may be given to another host; an offer \
           that was not taken up counts for a minute.",
    examples: &[example("vsctl router leases", "Who has which address")],
    run: Run::Ask(
        |typed| {
            Ok(Leases {
                router: typed.optional("ROUTER"),
            }
            .into())
        },
        prints!(Leases, print_leases),
    ),
};

pub(super) const PORT_ADD: Command = Command {
    words: &["router", "port", "add"],
    aliases: &[],
    arguments: &[
        ROUTER,
        PORT,
        BRIDGE,
        Options {
            help: "Settings of the port",
            required: false,
        },
    ],
    help: "Put a port of a router on a bridge",
    long: PORT_SETTINGS,
    examples: &[
        example(
            "vsctl router port add r1 gw0 br0 address=10.0.1.1/24,fd00:1::1/64",
            "The router's place on the network of br0",
        ),
        example(
            "vsctl router port add r1 gw10 br0 tag=10 address=10.0.10.1/24 dhcp_range=10.0.10.100-10.0.10.199",
            "Another in VLAN 10, which gives addresses to hosts",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(AddRouterPort {
                router: typed.text("ROUTER"),
                name: typed.text("PORT"),
                bridge: typed.text("BRIDGE"),
                options: typed.options()?,
            }
            .into())
        },
        prints!(AddRouterPort, nothing),
    ),
};

pub(super) const PORT_DEL: Command = Command {
    words: &["router", "port", "rm"],
    aliases: &[],
    arguments: &[PORT],
    help: "Remove a port of a router",
    long: "Routes that name the port have to be removed before.",
    examples: &[example("vsctl router port rm gw0", "Remove gw0")],
    run: Run::Ask(
        |typed| {
            Ok(DelRouterPort {
                name: typed.text("PORT"),
            }
            .into())
        },
        prints!(DelRouterPort, nothing),
    ),
};

pub(super) const PORT_SET: Command = Command {
    words: &["router", "port", "set"],
    aliases: &[],
    arguments: &[
        PORT,
        Options {
            help: "What to change",
            required: true,
        },
    ],
    help: "Change settings of a port of a router",
    long: "Settings that are not named stay as they are; an empty value puts one back to its default. \
           Either all are changed or, if one is refused, none.",
    examples: &[
        example(
            "vsctl router port set gw0 address=10.0.1.1/24,10.0.9.1/24",
            "Give it a further address, which is announced",
        ),
        example(
            "vsctl router port set gw0 dhcp_range=",
            "Give no more addresses",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(SetRouterPort {
                name: typed.text("PORT"),
                options: typed.options()?,
            }
            .into())
        },
        prints!(SetRouterPort, nothing),
    ),
};

pub(super) const ROUTE_ADD: Command = Command {
    words: &["route", "add"],
    aliases: &[],
    arguments: &[
        ROUTER,
        Several("ROUTE", "The words of a route"),
        Valued("file", "FILE", "Routes, one on a line; - is standard input"),
    ],
    help: "Add a route, or a file of them",
    long: "PREFIX via ADDRESS             by the router at this address\n\
           PREFIX via ADDRESS port PORT   which is behind this port\n\
           PREFIX via A weight 3 via B    by several, which get flows by their weights\n\
           PREFIX port PORT               directly, by this port\n\
           PREFIX blackhole               nowhere, in silence\n\
           PREFIX prohibit                nowhere, and the sender is told that it is forbidden\n\
           PREFIX unreachable             nowhere, and the sender is told so\n\
           PREFIX from PREFIX ...         only packets from there\n\n\
           The longest prefix wins; among equal ones the longest source. A route to the same prefix from \
           the same source is replaced. A file is added whole or, if one route is refused, not at all; \
           of more than 20000 routes the first stay if the switch or its disk fails while they are added. \
           Empty lines and those that begin with # are passed over.",
    examples: &[
        example(
            "vsctl route add r1 0.0.0.0/0 via 10.0.1.254",
            "The way to everywhere else",
        ),
        example(
            "vsctl route add r1 192.0.2.0/24 via 10.0.1.2 weight 3 via 10.0.1.3",
            "Three flows of four by the first",
        ),
        example("vsctl route add r1 --file routes.txt", "A million of them"),
    ],
    run: Run::Talk(
        |typed| {
            let words = typed.rest("ROUTE");
            let has_file = typed.value("file").is_some();
            if words.is_empty() != has_file {
                let text = "give either the words of a route or --file FILE\n";
                return Err(clap::Error::raw(ErrorKind::WrongNumberOfValues, text));
            }
            Ok(AddRoutes {
                router: typed.text("ROUTER"),
                routes: if has_file {
                    Vec::new()
                } else {
                    vec![words.join(" ")]
                },
                check: false,
                ahead: 0,
            }
            .into())
        },
        add_routes,
    ),
};

pub(super) const ROUTE_DEL: Command = Command {
    words: &["route", "del"],
    aliases: &["rm"],
    arguments: &[
        ROUTER,
        Several("ROUTE", "PREFIX, or PREFIX from PREFIX"),
        Flag("all", None, "All routes of the router"),
    ],
    help: "Remove a route",
    long: "Networks of the router's own ports are no routes and go with their addresses.",
    examples: &[
        example("vsctl route del r1 192.0.2.0/24", "One"),
        example("vsctl route del r1 --all", "All"),
    ],
    run: Run::Ask(
        |typed| {
            let words = typed.rest("ROUTE");
            let all = typed.flag("all");
            if words.is_empty() != all {
                let text = "give either a prefix or --all\n";
                return Err(clap::Error::raw(ErrorKind::WrongNumberOfValues, text));
            }
            Ok(DelRoutes {
                router: typed.text("ROUTER"),
                routes: if all {
                    Vec::new()
                } else {
                    vec![words.join(" ")]
                },
                all,
            }
            .into())
        },
        prints!(DelRoutes, nothing),
    ),
};

pub(super) const ROUTE_SHOW: Command = Command {
    words: &["route", "show"],
    aliases: &[],
    arguments: &[
        ROUTER,
        Optional("PREFIX", "Only routes to networks within this one"),
    ],
    help: "Show the routes of a router",
    long: "As they are added, in the order of their prefixes; networks of the router's own ports are shown \
           by router show.",
    examples: &[
        example("vsctl route show r1", "All routes"),
        example("vsctl route show r1 10.0.0.0/8", "Those within 10.0.0.0/8"),
    ],
    run: Run::Talk(
        |typed| {
            Ok(ShowRoutes {
                router: typed.text("ROUTER"),
                within: typed.optional("PREFIX"),
                after: None,
                max: PAGE_LEN,
            }
            .into())
        },
        show_routes,
    ),
};

pub(super) const ROUTE_GET: Command = Command {
    words: &["route", "get"],
    aliases: &[],
    arguments: &[
        ROUTER,
        Required("ADDRESS", "Where a packet goes"),
        Valued("from", "ADDRESS", "Where it comes from"),
    ],
    help: "Show which way a router sends a packet",
    long: "It is asked of the packet process, so it is what packets meet.",
    examples: &[
        example("vsctl route get r1 192.0.2.7", "The way to an address"),
        example(
            "vsctl route get r1 192.0.2.7 --from 10.0.1.2",
            "For packets of one host",
        ),
    ],
    run: Run::Ask(
        |typed| {
            let address = |text: String| {
                text.parse().map_err(|_| {
                    let text = format!("'{text}' is no IPv4 or IPv6 address\n");
                    clap::Error::raw(ErrorKind::ValueValidation, text)
                })
            };
            Ok(FindRoute {
                router: typed.text("ROUTER"),
                to: address(typed.text("ADDRESS"))?,
                from: typed.value("from").map(address).transpose()?,
            }
            .into())
        },
        prints!(FindRoute, print_found),
    ),
};

pub(super) const NEIGH_SHOW: Command = Command {
    words: &["neigh", "show"],
    aliases: &[],
    arguments: &[ROUTER],
    help: "Show the neighbours of a router",
    long: "A neighbour is incomplete while it is asked for, reachable when it has been confirmed lately, \
           stale when nothing was sent to it since, probe while it is asked whether it is still there, \
           and failed when it did not answer.",
    examples: &[example("vsctl neigh show r1", "Who is where")],
    run: Run::Ask(
        |typed| {
            Ok(ShowNeighbours {
                router: typed.text("ROUTER"),
            }
            .into())
        },
        prints!(ShowNeighbours, print_neighbours),
    ),
};

pub(super) const NEIGH_FLUSH: Command = Command {
    words: &["neigh", "flush"],
    aliases: &[],
    arguments: &[
        ROUTER,
        Optional("ADDRESS", "Only this neighbour"),
        Valued("port", "PORT", "Only those of this port"),
    ],
    help: "Forget neighbours of a router",
    long: "They are asked for again when a packet goes to them.",
    examples: &[
        example("vsctl neigh flush r1", "All"),
        example("vsctl neigh flush r1 10.0.1.2", "One"),
    ],
    run: Run::Ask(
        |typed| {
            let address = typed.optional("ADDRESS").map(|text| {
                text.parse().map_err(|_| {
                    let text = format!("'{text}' is no IPv4 or IPv6 address\n");
                    clap::Error::raw(ErrorKind::ValueValidation, text)
                })
            });
            Ok(FlushNeighbours {
                router: typed.text("ROUTER"),
                address: address.transpose()?,
                port: typed.value("port"),
            }
            .into())
        },
        prints!(FlushNeighbours, nothing),
    ),
};

/// Routes with the numbers of their lines.
type Lines = Vec<(usize, String)>;

fn read_routes(file: &str) -> Result<Lines, Failure> {
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| refused(format!("{file} cannot be read: {error}")))?;
    routes_of(&text).map_err(|(at, error)| refused(format!("{file}, line {at}: {error}")))
}

/// The routes of a text. Of those to the same prefix from the same source the last counts, so that each is
/// counted once.
fn routes_of(text: &str) -> Result<Lines, (usize, RouteError)> {
    let mut last = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let (at, line) = (at + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let route: Route = line.parse().map_err(|error| (at, error))?;
        last.insert((route.prefix, route.source), (at, line.to_owned()));
    }
    let mut routes: Lines = last.into_values().collect();
    routes.sort_unstable();
    Ok(routes)
}

fn refused(text: String) -> Failure {
    Refusal::new(Code::Refused, text).into()
}

fn add_routes(typed: &Typed<'_>, client: &mut Client) -> Result<Answer, Failure> {
    let router = typed.text("ROUTER");
    let (file, routes) = match typed.value("file") {
        None => (None, vec![(1, typed.rest("ROUTE").join(" "))]),
        Some(file) => {
            let routes = read_routes(&file)?;
            (Some(file), routes)
        }
    };
    // Several messages are checked before the first is carried out.
    let passes: &[bool] = if routes.len() > BATCH_LEN {
        &[true, false]
    } else {
        &[false]
    };
    for check in passes {
        let mut ahead = 0;
        for batch in routes.chunks(BATCH_LEN) {
            let call = AddRoutes {
                router: router.clone(),
                routes: batch.iter().map(|(_, line)| line.clone()).collect(),
                check: *check,
                ahead,
            };
            let answer = client.call(&call.into());
            let reply = answer.map_err(|failure| match (failure, &file, batch.first()) {
                (Failure::Refused(mut refusal), Some(file), Some((line, _))) => {
                    refusal.message = format!("{file}, from line {line}: {}", refusal.message);
                    Failure::Refused(refusal)
                }
                (failure, ..) => failure,
            })?;
            if *check {
                let done: Added = vswitch_rpc::envelope::decode_reply(reply)?;
                ahead += done.added;
            }
        }
    }
    Ok(Answer {
        text: String::new(),
        json: json!({}),
    })
}

fn show_routes(typed: &Typed<'_>, client: &mut Client) -> Result<Answer, Failure> {
    if let Some(prefix) = typed.optional("PREFIX") {
        route::key(&prefix).map_err(|error| refused(error.to_string()))?;
    }
    let (mut text, mut rows, mut after) = (String::new(), Vec::new(), None);
    loop {
        let call = ShowRoutes {
            router: typed.text("ROUTER"),
            within: typed.optional("PREFIX"),
            after: after.take(),
            max: PAGE_LEN,
        };
        let reply = client.call(&call.into())?;
        let page: Routes = vswitch_rpc::envelope::decode_reply(reply)?;
        for row in &page.rows {
            let from = row.from.as_ref();
            let from = from.map_or_else(String::new, |from| format!(" from {from}"));
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}{from} {}", row.prefix, row.way);
            after = Some(format!("{}{from}", row.prefix));
            rows.push(serde_json::to_value(row).unwrap_or(Value::Null));
        }
        if !page.more || after.is_none() {
            break;
        }
    }
    Ok(Answer {
        text,
        json: Value::Array(rows),
    })
}

fn print_routers(routers: &Vec<Info>, _: &Typed<'_>, page: &mut Page) {
    for router in routers {
        page.line(format_args!(
            "router {}, neighbours={}, icmp_rate={}, {} routes",
            router.name, router.neighbours, router.icmp_rate, router.routes
        ));
        let columns = [
            ("PORT", Left),
            ("BRIDGE", Left),
            ("VLAN", Right),
            ("MAC", Left),
            ("MTU", Right),
            ("ADDRESSES", Left),
        ];
        let mut table = Table::new(2, &columns);
        for port in &router.ports {
            let addresses: Vec<_> = port.addresses.iter().map(ToString::to_string).collect();
            let vlan = match port.vlan {
                0 => "-".to_owned(),
                vlan => vlan.to_string(),
            };
            table.row([
                port.name.as_str().into(),
                port.bridge.as_str().into(),
                vlan.into(),
                port.mac.as_str().into(),
                port.mtu.into(),
                addresses.join(" ").into(),
            ]);
            let options = port.options.iter();
            let options: Vec<_> = options
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            if !options.is_empty() {
                table.note(options.join(" ").into());
            }
        }
        table.print(page);
    }
}

fn print_found(found: &Found, _: &Typed<'_>, page: &mut Page) {
    let prefix = found.prefix.as_deref().unwrap_or_default();
    let way = found.way.as_deref().unwrap_or_default();
    let from = found.from.as_ref();
    let from = from.map_or_else(String::new, |from| format!(" from {from}"));
    page.line(match found.kind.as_str() {
        "none" => "no route".to_owned(),
        kind => format!("{kind} {prefix}{from} {way}"),
    });
}

fn print_neighbours(found: &Neighbours, _: &Typed<'_>, page: &mut Page) {
    let columns = [
        ("PORT", Left),
        ("ADDRESS", Left),
        ("MAC", Left),
        ("STATE", Left),
        ("CONFIRMED", Right),
        ("WAITING", Right),
    ];
    let mut table = Table::new(0, &columns);
    for row in &found.rows {
        table.row([
            row.port.as_str().into(),
            row.address.to_string().into(),
            row.mac.as_deref().unwrap_or("-").into(),
            row.state.as_str().into(),
            format!("{} s", row.confirmed_s).into(),
            row.waiting.into(),
        ]);
    }
    table.print(page);
    page.line(format_args!(
        "{} asked, {} learned, {} moved, {} claims refused, {} failed, {} evicted, {} packets wait",
        found.asked,
        found.learned,
        found.moved,
        found.refused,
        found.failed,
        found.evicted,
        found.waiting
    ));
}

fn print_leases(leases: &Vec<Lease>, _: &Typed<'_>, page: &mut Page) {
    let columns = [
        ("PORT", Left),
        ("ADDRESS", Left),
        ("MAC", Left),
        ("LEFT", Right),
    ];
    let mut table = Table::new(0, &columns);
    for lease in leases {
        table.row([
            lease.port.as_str().into(),
            lease.address.to_string().into(),
            lease.mac.as_str().into(),
            format!("{} s", lease.left_s).into(),
        ]);
    }
    table.print(page);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_routes_to_one_place_the_last_counts() {
        let text = "# the first two\n10.0.0.0/8 prohibit\n\n  ::/0 blackhole\n\
                    10.0.0.0/8 from 10.0.0.0/8 prohibit\n10.0.0.0/8 via 10.0.0.1\n";
        let lines = [
            (4, "::/0 blackhole".to_owned()),
            (5, "10.0.0.0/8 from 10.0.0.0/8 prohibit".to_owned()),
            (6, "10.0.0.0/8 via 10.0.0.1".to_owned()),
        ];
        assert_eq!(routes_of(text), Ok(lines.into()));
        let refused = routes_of("10.0.0.0/8 prohibit\n10.0.0.0/8\n");
        assert_eq!(refused.map_err(|(at, _)| at), Err(2));
    }
}
