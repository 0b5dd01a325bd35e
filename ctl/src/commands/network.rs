//! Container networks, in the words of `docker network`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use clap::error::ErrorKind;
use vswitch_rpc::network::{
    Created, Endpoint, Explained, Network, NetworkConnect, NetworkCreate, NetworkDisconnect,
    NetworkExplain, NetworkInspect, NetworkLs, NetworkPrune, NetworkRm, Subnet,
};

use super::Argument::{Flag, Repeated, Required, Valued};
use super::{Argument, Command, Run, example, names, nothing, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::Tone::Strong;
use crate::output::table::Align::{Left, Right};
use crate::output::table::Table;

const NETWORK: Argument = Required(
    "NETWORK",
    "The network: its name, id, or the beginning of its id",
);
const SANDBOX: Argument = Required(
    "SANDBOX",
    "The sandbox: its name, id, or the beginning of its id",
);

pub(super) const CREATE: Command = Command {
    words: &["network", "create"],
    aliases: &[],
    arguments: &[
        Required("NAME", "The network"),
        Valued(
            "driver",
            "DRIVER",
            "Who moves its packets: bridge unless said otherwise",
        ),
        Repeated(
            "subnet",
            "SUBNET",
            "Its addresses, 10.1.0.0/24; one of the defaults otherwise",
        ),
        Repeated(
            "ip-range",
            "SUBNET",
            "The part of a subnet from which addresses come that nobody names",
        ),
        Repeated(
            "gateway",
            "ADDRESS",
            "The gateway of a subnet; its first address otherwise",
        ),
        Repeated(
            "aux-address",
            "NAME=ADDRESS",
            "An address of a subnet that is somebody else's",
        ),
        Flag("ipv6", None, "With addresses of IPv6"),
        Flag("no-ipv4", None, "Without addresses of IPv4"),
        Flag("internal", None, "It leads nowhere else"),
        Flag(
            "config-only",
            None,
            "Only a configuration, which networks are made from",
        ),
        Valued(
            "config-from",
            "NETWORK",
            "The configuration to make it from",
        ),
        Repeated("opt", "KEY=VALUE", "For the driver"),
        Repeated("label", "KEY=VALUE", "For people"),
    ],
    help: "Make a container network",
    long: "Members of a network reach each other, and the host at the network's gateway; different networks \
           are apart. Prints the network's id. Options of the driver bridge:\n\n\
           com.docker.network.driver.mtu=N                the MTU of its interfaces\n\
           com.docker.network.bridge.name=NAME            the name of its bridge\n\
           com.docker.network.bridge.enable_icc=false     members reach the host only\n\
           vswitch.antispoof=false                        endpoints may use addresses that are not theirs\n\
           vswitch.dns=false                              no name server at the gateways\n\
           com.docker.network.container_iface_prefix=TEXT what interfaces are called in sandboxes",
    examples: &[
        example(
            "vsctl network create red",
            "A network with the next free subnet",
        ),
        example(
            "vsctl network create blue --subnet 10.2.0.0/24 --gateway 10.2.0.254 --ipv6 --subnet fd00:2::/64",
            "Both families, with subnets of one's own",
        ),
    ],
    run: Run::Ask(
        |typed| Ok(create(typed)?.into()),
        prints!(NetworkCreate, print_id),
    ),
};

pub(super) const LIST: Command = Command {
    words: &["network", "ls"],
    aliases: &[],
    arguments: &[],
    help: "List the container networks",
    long: "One on a line, by name. The networks host and none are always there.",
    examples: &[example("vsctl network ls", "All networks")],
    run: Run::Ask(|_| Ok(NetworkLs {}.into()), prints!(NetworkLs, print_all)),
};

pub(super) const INSPECT: Command = Command {
    words: &["network", "inspect"],
    aliases: &[],
    arguments: &[NETWORK],
    help: "Show a container network with its endpoints",
    long: "Subnets, options, labels, and who is on it.",
    examples: &[example("vsctl network inspect red", "All about red")],
    run: Run::Ask(
        |typed| {
            Ok(NetworkInspect {
                network: typed.text("NETWORK"),
            }
            .into())
        },
        prints!(NetworkInspect, print_one),
    ),
};

pub(super) const REMOVE: Command = Command {
    words: &["network", "rm"],
    aliases: &[],
    arguments: &[NETWORK],
    help: "Remove a container network",
    long: "It must have no endpoints. Its subnets are free again.",
    examples: &[example("vsctl network rm red", "Remove red")],
    run: Run::Ask(
        |typed| {
            Ok(NetworkRm {
                network: typed.text("NETWORK"),
            }
            .into())
        },
        prints!(NetworkRm, nothing),
    ),
};

pub(super) const PRUNE: Command = Command {
    words: &["network", "prune"],
    aliases: &[],
    arguments: &[],
    help: "Remove all container networks that have no endpoints",
    long: "Prints their names.",
    examples: &[example("vsctl network prune", "Tidy up")],
    run: Run::Ask(|_| Ok(NetworkPrune {}.into()), prints!(NetworkPrune, names)),
};

pub(super) const EXPLAIN: Command = Command {
    words: &["network", "explain"],
    aliases: &[],
    arguments: &[
        Required(
            "FROM",
            "An endpoint: NETWORK/NAME, its name, id, or the beginning of its id",
        ),
        Required("TO", "Another"),
    ],
    help: "Say whether one endpoint reaches another, and why",
    long: "First what networks say of it, then what the switch would do with an echo request. Where the two do \
           not agree, somebody has changed flows.",
    examples: &[example(
        "vsctl network explain red/c1 blue/c2",
        "Why c1 does not reach c2",
    )],
    run: Run::Ask(
        |typed| {
            Ok(NetworkExplain {
                from: typed.text("FROM"),
                to: typed.text("TO"),
            }
            .into())
        },
        prints!(NetworkExplain, print_explained),
    ),
};

fn print_explained(explained: &Explained, _: &Typed<'_>, page: &mut Page) {
    let Explained { from, to, why, .. } = explained;
    let verb = if explained.reaches {
        "reaches"
    } else {
        "does not reach"
    };
    page.line(format_args!(
        "{from} {} {to}: {why}",
        page.paint(verb, Strong)
    ));
    let Some(story) = &explained.story else {
        return;
    };
    page.line(format_args!("An echo request:"));
    for line in &story.lines {
        let indent = if line.is_empty() { "" } else { "  " };
        page.line(format_args!("{indent}{line}"));
    }
    page.line(format_args!(
        "  Datapath actions: {}",
        story.datapath_actions
    ));
    if let Some(failure) = &story.failure {
        page.line(format_args!("  {failure}"));
    }
    match explained.carried {
        Some(true) if !explained.reaches => {
            page.line(format_args!("Flows let it arrive all the same."));
        }
        Some(false) if explained.reaches => {
            page.line(format_args!("Flows keep it from arriving."));
        }
        _ => {}
    }
}

pub(super) const CONNECT: Command = Command {
    words: &["network", "connect"],
    aliases: &[],
    arguments: &[
        NETWORK,
        SANDBOX,
        Valued(
            "ip",
            "ADDRESS",
            "Its address of IPv4; one of the network's otherwise",
        ),
        Valued("ip6", "ADDRESS", "The same of IPv6"),
        Repeated(
            "link-local-ip",
            "ADDRESS",
            "A further address that holds on the link only",
        ),
        Valued(
            "mac-address",
            "MAC",
            "Its address on the link; it follows from its addresses otherwise",
        ),
        Repeated(
            "alias",
            "NAME",
            "Another name that members of the network know it by",
        ),
        Valued(
            "gw-priority",
            "N",
            "The higher, the sooner it is the sandbox's way out; 0 otherwise",
        ),
        Repeated("driver-opt", "KEY=VALUE", "For the driver"),
    ],
    help: "Connect a sandbox to a container network",
    long: "Makes an endpoint, called after the sandbox, and an interface in the sandbox's namespace with its \
           addresses and routes. Prints what it got.",
    examples: &[
        example("vsctl network connect red c1", "Any address"),
        example(
            "vsctl network connect blue c1 --ip 10.2.0.9 --gw-priority 1",
            "This address, and the way out by blue",
        ),
    ],
    run: Run::Ask(
        |typed| Ok(connect(typed)?.into()),
        prints!(NetworkConnect, |endpoint: &Endpoint, _, page: &mut Page| {
            let interface = endpoint.interface.as_deref().unwrap_or("no interface");
            page.line(format_args!(
                "{interface} {} {}",
                endpoint.mac_address,
                endpoint.addresses.join(" ")
            ));
        }),
    ),
};

pub(super) const DISCONNECT: Command = Command {
    words: &["network", "disconnect"],
    aliases: &[],
    arguments: &[NETWORK, SANDBOX],
    help: "Disconnect a sandbox from a container network",
    long: "The interface goes and its addresses are free again.",
    examples: &[example(
        "vsctl network disconnect red c1",
        "Take c1 off red",
    )],
    run: Run::Ask(
        |typed| {
            Ok(NetworkDisconnect {
                network: typed.text("NETWORK"),
                sandbox: typed.text("SANDBOX"),
            }
            .into())
        },
        prints!(NetworkDisconnect, nothing),
    ),
};

fn create(typed: &Typed<'_>) -> Result<NetworkCreate, clap::Error> {
    Ok(NetworkCreate {
        name: typed.text("NAME"),
        driver: typed.value("driver"),
        no_ipv4: typed.flag("no-ipv4"),
        ipv6: typed.flag("ipv6"),
        subnets: typed.values("subnet"),
        ip_ranges: typed.values("ip-range"),
        gateways: parsed("gateway", &typed.values("gateway"), "an address")?,
        aux_addresses: pairs(typed, "aux-address")?
            .into_iter()
            .map(|(name, text)| {
                let mut addresses = parsed("aux-address", &[text], "NAME=ADDRESS")?;
                Ok((name, addresses.remove(0)))
            })
            .collect::<Result<_, clap::Error>>()?,
        internal: typed.flag("internal"),
        config_only: typed.flag("config-only"),
        config_from: typed.value("config-from"),
        options: pairs(typed, "opt")?,
        labels: labels(typed)?,
    })
}

fn connect(typed: &Typed<'_>) -> Result<NetworkConnect, clap::Error> {
    let address = |name: &str| -> Result<Option<IpAddr>, clap::Error> {
        let typed: Vec<String> = typed.value(name).into_iter().collect();
        Ok(parsed(name, &typed, "an address")?.pop())
    };
    let priority: Vec<String> = typed.value("gw-priority").into_iter().collect();
    Ok(NetworkConnect {
        network: typed.text("NETWORK"),
        sandbox: typed.text("SANDBOX"),
        ip: address("ip")?,
        ip6: address("ip6")?,
        link_local_ips: parsed(
            "link-local-ip",
            &typed.values("link-local-ip"),
            "an address",
        )?,
        mac_address: typed.value("mac-address"),
        aliases: typed.values("alias"),
        gw_priority: parsed("gw-priority", &priority, "a whole number")?
            .pop()
            .unwrap_or_default(),
        options: pairs(typed, "driver-opt")?,
    })
}

/// The values of an option, each of which has to be of a kind.
fn parsed<T: FromStr>(name: &str, texts: &[String], takes: &str) -> Result<Vec<T>, clap::Error> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            let text = format!("--{name} takes {takes}, not '{text}'\n");
            clap::Error::raw(ErrorKind::ValueValidation, text)
        })
    };
    texts.iter().map(parse).collect()
}

/// The values of an option that is written KEY=VALUE.
fn pairs(typed: &Typed<'_>, name: &str) -> Result<BTreeMap<String, String>, clap::Error> {
    let mut pairs = BTreeMap::new();
    for word in typed.values(name) {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let text = format!("--{name} takes KEY=VALUE, not '{word}'\n");
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        };
        if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            let text = format!("--{name} gives '{key}' twice\n");
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        }
    }
    Ok(pairs)
}

/// Labels, which need no value.
pub(super) fn labels(typed: &Typed<'_>) -> Result<BTreeMap<String, String>, clap::Error> {
    let mut labels = BTreeMap::new();
    for word in typed.values("label") {
        let (key, value) = word.split_once('=').unwrap_or((&word, ""));
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            let text = format!("--label gives '{key}' twice\n");
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        }
    }
    Ok(labels)
}

pub(super) fn print_id(created: &Created, _: &Typed<'_>, page: &mut Page) {
    page.line(&created.id);
}

/// As much of an id as people tell them apart by.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn print_all(networks: &Vec<Network>, _: &Typed<'_>, page: &mut Page) {
    let columns = [
        ("NETWORK ID", Left),
        ("NAME", Left),
        ("DRIVER", Left),
        ("ENDPOINTS", Right),
        ("SUBNETS", Left),
    ];
    let mut table = Table::new(0, &columns);
    for network in networks {
        let subnets: Vec<&str> = network
            .subnets
            .iter()
            .map(|one| one.subnet.as_str())
            .collect();
        table.row([
            short(&network.id).into(),
            (&network.name).into(),
            (&network.driver).into(),
            network.endpoints.len().into(),
            subnets.join(" ").into(),
        ]);
    }
    table.print(page);
}

fn print_one(network: &Network, _: &Typed<'_>, page: &mut Page) {
    page.line(format_args!(
        "network {}, driver {}",
        page.paint(&network.name, Strong),
        network.driver
    ));
    page.line(format_args!("  id {}", network.id));
    if let Some(bridge) = &network.bridge {
        page.line(format_args!("  bridge {bridge}"));
    }
    if network.internal {
        page.line("  internal");
    }
    if network.config_only {
        page.line("  configuration only");
    }
    if let Some(config) = &network.config_from {
        page.line(format_args!("  from configuration {config}"));
    }
    for subnet in &network.subnets {
        page.line(format_args!("  subnet {}", describe(subnet)));
    }
    for (word, pairs) in [("option", &network.options), ("label", &network.labels)] {
        for (key, value) in pairs {
            page.line(format_args!("  {word} {key}={value}"));
        }
    }
    for server in &network.name_servers {
        page.line(format_args!("  name server {server}"));
    }
    if let Some(why) = &network.name_server_error {
        page.line(format_args!("  no name server: {why}"));
    }
    super::endpoint::print_all(&network.endpoints, 2, page);
}

fn describe(subnet: &Subnet) -> String {
    let mut words = vec![subnet.subnet.clone()];
    words.extend(
        subnet
            .ip_range
            .as_ref()
            .map(|range| format!("ip-range {range}")),
    );
    words.extend(subnet.gateway.map(|gateway| format!("gateway {gateway}")));
    let aux = subnet.aux_addresses.iter();
    words.extend(aux.map(|(name, address)| format!("aux {name}={address}")));
    words.join(", ")
}
