//! Whom our identities believe, and what is said of the others.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "a part of the harness, of which not every proof needs all"
)]
#[path = "../../../tests/harness/authority.rs"]
mod authority;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use authority::{Authority, Papers};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use vswitch_tls::rustls::{Connection, Error};
use vswitch_tls::{BadIdentity, Files, Identity, explain};

fn files(papers: &Papers) -> Files {
    Files {
        private_key: papers.key.clone(),
        certificate: papers.certificate.clone(),
        ca_cert: papers.ca.clone(),
    }
}

fn load(papers: &Papers) -> Identity {
    Identity::load(&files(papers)).expect("these are good")
}

/// Moves bytes from one end to the other; what the other says to it.
fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory takes all");
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("memory gives all");
        to.process_new_packets()?;
    }
    Ok(())
}

/// Carries both ways until nothing is left to say; the first that fails.
fn converse(client: &mut Connection, server: &mut Connection) -> Result<(), (&'static str, Error)> {
    for _ in 0..10 {
        let told = carry(client, server);
        // A failed end has an alert to send.
        carry(server, client).map_err(|error| ("client", error))?;
        told.map_err(|error| ("server", error))?;
    }
    Ok(())
}

/// What becomes of a connection between these two.
fn meet(client: &Identity, server: &Identity) -> Result<(), (&'static str, Error)> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut client: Connection = client.connect(here).expect("a connection").into();
    let mut server: Connection = server.accept().expect("a connection").into();
    client.writer().write_all(b"hello").expect("room");
    converse(&mut client, &mut server)?;
    let mut heard = [0; 16];
    let size = server.reader().read(&mut heard).expect("it came");
    assert_eq!(&heard[..size], b"hello");
    Ok(())
}

fn place() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn authority(place: &Path, name: &str) -> Authority {
    Authority::new(place, name).expect("an authority")
}

#[test]
fn those_of_one_authority_believe_each_other() {
    let place = place();
    let ca = authority(place.path(), "ca");
    let (a, b) = (ca.sign("a").unwrap(), ca.sign("b").unwrap());
    meet(&load(&a), &load(&b)).expect("both are of one CA");
    meet(&load(&b), &load(&a)).expect("and the other way round");
}

#[test]
fn a_client_of_another_authority_is_refused_and_told_so() {
    let place = place();
    let (ca, other) = (
        authority(place.path(), "ca"),
        authority(place.path(), "other"),
    );
    let server = ca.sign("server").unwrap();
    let mut stranger = other.sign("stranger").unwrap();
    // It believes the server, which does not believe it.
    stranger.ca.clone_from(&server.ca);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut client: Connection = load(&stranger).connect(here).unwrap().into();
    let mut server: Connection = load(&server).accept().unwrap().into();
    carry(&mut client, &mut server).expect("hello");
    carry(&mut server, &mut client).expect("the server is who it should be");
    let refused = carry(&mut client, &mut server).expect_err("it is a stranger");
    assert_eq!(
        explain(&refused),
        "its certificate was not signed by our CA"
    );
    let told = carry(&mut server, &mut client).expect_err("an alert");
    assert_eq!(
        explain(&told),
        "it refuses our certificate: its CA did not sign it"
    );
}

#[test]
fn a_server_of_another_authority_is_refused() {
    let place = place();
    let (ca, other) = (
        authority(place.path(), "ca"),
        authority(place.path(), "other"),
    );
    let (a, b) = (ca.sign("a").unwrap(), other.sign("b").unwrap());
    let (who, error) = meet(&load(&a), &load(&b)).expect_err("strangers");
    assert_eq!(
        (who, explain(&error).as_str()),
        ("client", "its certificate was not signed by our CA")
    );
}

#[test]
fn an_expired_certificate_is_named_as_such() {
    let place = place();
    let ca = authority(place.path(), "ca");
    let (old, new) = (ca.sign_until("old", 2001).unwrap(), ca.sign("new").unwrap());
    let (_, error) = meet(&load(&new), &load(&old)).expect_err("expired");
    assert_eq!(explain(&error), "its certificate has expired");
}

#[test]
fn what_is_no_tls_is_named_as_such() {
    let place = place();
    let ca = authority(place.path(), "ca");
    let identity = load(&ca.sign("a").unwrap());
    let mut server: Connection = identity.accept().unwrap().into();
    // The hello of OpenFlow 1.3.
    let mut hello = &[4, 0, 0, 8, 0, 0, 0, 1][..];
    server.read_tls(&mut hello).unwrap();
    let error = server.process_new_packets().expect_err("no TLS");
    assert_eq!(explain(&error), "it does not speak TLS");
}

#[test]
fn files_that_make_no_identity_are_refused_by_name() {
    let place = place();
    let ca = authority(place.path(), "ca");
    let (a, b) = (ca.sign("a").unwrap(), ca.sign("b").unwrap());
    let refused = |change: &dyn Fn(&mut Files)| {
        let mut files = files(&a);
        change(&mut files);
        let error = Identity::load(&files).expect_err("refused");
        error
            .to_string()
            .replace(&place.path().display().to_string(), "DIR")
    };
    let text = place.path().join("text");
    fs::write(&text, "no PEM\n").unwrap();
    let locked = place.path().join("locked");
    fs::write(
        &locked,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let odd = place.path().join("odd");
    fs::write(
        &odd,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let long = place.path().join("long");
    fs::write(&long, vec![b'x'; 2 << 20]).unwrap();
    assert_eq!(
        refused(&|files| files.private_key = "/nowhere".into()),
        "the private key /nowhere cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        refused(&|files| files.certificate.clone_from(&text)),
        "DIR/text holds no certificate in PEM"
    );
    assert_eq!(
        refused(&|files| files.ca_cert = place.path().into()),
        "the CA certificate DIR cannot be read: Is a directory (os error 21)"
    );
    let fifo = place.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    for path in [&fifo, Path::new("/dev/ptmx")] {
        let said = refused(&|files| files.private_key = path.into());
        assert!(
            said.ends_with(" cannot be read: it is no regular file"),
            "{said}"
        );
    }
    assert_eq!(
        refused(&|files| files.ca_cert.clone_from(&long)),
        "the CA certificate DIR/long cannot be read: it is longer than 1 MiB"
    );
    assert_eq!(
        refused(&|files| files.private_key.clone_from(&a.certificate)),
        "DIR/a-cert.pem holds no private key in PEM"
    );
    assert_eq!(
        refused(&|files| files.private_key.clone_from(&b.key)),
        "the private key DIR/b-privkey.pem does not belong to the certificate DIR/a-cert.pem"
    );
    assert!(
        refused(&|files| files.private_key.clone_from(&locked))
            .starts_with("the private key DIR/locked is encrypted"),
    );
    assert!(
        refused(&|files| files.private_key.clone_from(&odd))
            .starts_with("the private key DIR/odd is none that can be used"),
    );
    let error = Identity::load(&files(&Papers {
        certificate: odd,
        ..a.clone()
    }));
    assert!(matches!(error, Err(BadIdentity::NoPem { .. })), "{error:?}");
}
