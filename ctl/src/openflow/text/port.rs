//! Ports, their counters and their queues.

use std::time::Duration;

use vswitch_flow::OfPort;
use vswitch_flow::text::{Named, Names};
use vswitch_openflow::port::{PortDesc, PortMod, PortStats};
use vswitch_openflow::queue::{QUEUE_ALL, QueueConfig, QueueStats};

use super::flow::duration;
use super::{Style, bits};

/// A port's number, reserved name, or name where it has one.
pub(super) fn number(port: OfPort, names: Option<&Names>) -> String {
    // An output action is spelled as the port it goes to, after a word for ordinary ones.
    let action = vswitch_flow::Action::Output(port);
    let text = match names {
        Some(names) => Named(&action, names).to_string(),
        None => action.to_string(),
    };
    text.trim_start_matches("output:").to_owned()
}

/// A port's description, several lines.
pub fn desc(port: &PortDesc) -> String {
    let mut text = format!(
        " {}({}): addr:{}\n     config:     {}\n     state:      {}\n",
        number(port.port, None),
        port.name.to_text(),
        port.mac,
        bits::port_config(port.config),
        bits::port_state(port.state)
    );
    for (label, features) in [
        ("current:   ", port.current),
        ("advertised:", port.advertised),
        ("supported: ", port.supported),
        ("peer:      ", port.peer),
    ] {
        if features.0 != 0 {
            text += &format!("     {label} {}\n", bits::port_features(features));
        }
    }
    text + &format!(
        "     speed: {} Mbps now, {} Mbps max\n",
        port.current_speed / 1000,
        port.max_speed / 1000
    )
}

/// What a change of a port says.
pub(super) fn change(change: &PortMod, to: &mut String) {
    *to += &format!(
        " port: {}: addr:{}\n     config: {}\n     mask:   {}\n     advertise: {}\n",
        number(change.port, None),
        change.mac,
        bits::port_config(change.config),
        bits::port_config(change.mask),
        match change.advertise.0 {
            0 => "UNCHANGED".to_owned(),
            _ => bits::port_features(change.advertise),
        }
    );
}

fn count(count: u64) -> String {
    match count {
        u64::MAX => "?".to_owned(),
        count => count.to_string(),
    }
}

/// Counters of ports.
pub(super) fn stats(ports: &[PortStats], style: Style<'_>, to: &mut String) {
    *to += &format!(" {} ports\n", ports.len());
    for port in ports {
        let name = number(port.port, style.names);
        let width = if port.port.0 < 10 { " " } else { "" };
        *to += &format!(
            "  port {width}{name}: rx pkts={}, bytes={}, drop={}, errs={}, frame={}, over={}, crc={}\n",
            count(port.rx_packets),
            count(port.rx_bytes),
            count(port.rx_dropped),
            count(port.rx_errors),
            count(port.rx_frame_err),
            count(port.rx_over_err),
            count(port.rx_crc_err)
        );
        *to += &format!(
            "           tx pkts={}, bytes={}, drop={}, errs={}, coll={}\n",
            count(port.tx_packets),
            count(port.tx_bytes),
            count(port.tx_dropped),
            count(port.tx_errors),
            count(port.collisions)
        );
        if let Some(elapsed) = port.duration {
            *to += &format!(
                "           duration={}\n",
                duration(Duration::from(elapsed))
            );
        }
    }
}

/// Counters of queues.
pub(super) fn queue_stats(queues: &[QueueStats], style: Style<'_>, to: &mut String) {
    *to += &format!(" {} queues\n", queues.len());
    for queue in queues {
        let id = match queue.queue {
            QUEUE_ALL => "ALL".to_owned(),
            id => id.to_string(),
        };
        *to += &format!(
            "  port {} queue {id}: bytes={}, pkts={}, errors={}",
            number(queue.port, style.names),
            count(queue.tx_bytes),
            count(queue.tx_packets),
            count(queue.tx_errors)
        );
        if let Some(elapsed) = queue.duration {
            *to += &format!(", duration={}", duration(Duration::from(elapsed)));
        }
        to.push('\n');
    }
}

/// The queues of a port.
pub(super) fn queues(config: &QueueConfig, to: &mut String) {
    to.push('\n');
    for queue in &config.queues {
        *to += &format!("queue {}:", queue.queue);
        for (label, rate) in [("min_rate", queue.min_rate), ("max_rate", queue.max_rate)] {
            if let Some(rate) = rate {
                *to += &format!(" {label}:{}.{}%", rate / 10, rate % 10);
            }
        }
        to.push('\n');
    }
}
