//! By which files the switch proves to controllers who it is, in the words of `ovs-vsctl(8)`.

use std::path::Path;

use vswitch_rpc::ssl::{DelSsl, ReadSsl, SetSsl};

use super::Argument::Required;
use super::{Command, Run, example, nothing, prints};
use crate::args::Typed;
use crate::output::Page;

pub(super) const SET: Command = Command {
    words: &["set-ssl"],
    aliases: &[],
    arguments: &[
        Required("KEY", "The private key, in PEM"),
        Required("CERT", "The certificate of that key, in PEM"),
        Required("CA", "The authorities whose word is taken, in PEM"),
    ],
    help: "Say by which files the switch proves to controllers who it is",
    long: "For controllers at ssl: and pssl:. The files are read now and refused if they do not fit \
           together; paths are remembered, and files that are replaced later are read again for the \
           next connection. ovs-pki(8) makes such files.",
    examples: &[example(
        "vsctl set-ssl /etc/vswitch/sc-privkey.pem /etc/vswitch/sc-cert.pem /etc/vswitch/cacert.pem",
        "A key, its certificate and the CA of the controllers",
    )],
    run: Run::Ask(
        |typed| {
            Ok(SetSsl {
                private_key: full(&typed.text("KEY")),
                certificate: full(&typed.text("CERT")),
                ca_cert: full(&typed.text("CA")),
            }
            .into())
        },
        prints!(SetSsl, nothing),
    ),
};

pub(super) const SHOW: Command = Command {
    words: &["get-ssl"],
    aliases: &[],
    arguments: &[],
    help: "Show by which files the switch proves who it is",
    long: "As ovs-vsctl prints them; nothing when none were named.",
    examples: &[example("vsctl get-ssl", "The three paths")],
    run: Run::Ask(|_| Ok(ReadSsl {}.into()), prints!(ReadSsl, print)),
};

pub(super) const DEL: Command = Command {
    words: &["del-ssl"],
    aliases: &[],
    arguments: &[],
    help: "Have the switch prove no more who it is",
    long: "Controllers at ssl: and pssl: cannot be met any more; connections that exist stay. The \
           files stay too.",
    examples: &[example("vsctl del-ssl", "Forget the three paths")],
    run: Run::Ask(|_| Ok(DelSsl {}.into()), prints!(DelSsl, nothing)),
};

/// The path from the root: vswitchd runs elsewhere. One that is beyond help is left for it to refuse.
fn full(path: &str) -> String {
    let full = std::path::absolute(Path::new(path));
    full.map_or_else(|_| path.into(), |full| full.to_string_lossy().into_owned())
}

fn print(ssl: &Option<SetSsl>, _: &Typed<'_>, page: &mut Page) {
    if let Some(ssl) = ssl {
        page.line(format_args!("Private key: {}", ssl.private_key));
        page.line(format_args!("Certificate: {}", ssl.certificate));
        page.line(format_args!("CA Certificate: {}", ssl.ca_cert));
    }
}
