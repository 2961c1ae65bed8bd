//! Clients that get in, clients that do not, and certificates that change under way.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bowline_cert_authority::{
    CertificateAuthority, Issued, ServerNames, Validity, control_plane_identity,
};
use bowline_identity::SpiffeId;
use bowline_state::Memory;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::threads::Threads;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn authority(trust_domain: &str) -> Arc<CertificateAuthority> {
    let now = SystemTime::now() - 48 * HOUR;
    Arc::new(
        CertificateAuthority::open(&Memory::new(), &trust_domain.parse().unwrap(), now).unwrap(),
    )
}

fn from_authority(authority: &Arc<CertificateAuthority>) -> TlsSource {
    let names = ServerNames::parse(["localhost"]).unwrap();
    TlsSource::Authority {
        authority: Arc::clone(authority),
        names,
    }
}

fn cart(authority: &CertificateAuthority) -> SpiffeId {
    SpiffeId::workload(authority.trust_domain(), "shop", "cart").unwrap()
}

fn issue_at(authority: &CertificateAuthority, at: SystemTime) -> Issued {
    authority
        .issue(
            &cart(authority),
            &ServerNames::none(),
            Validity::default(),
            at,
        )
        .unwrap()
}

static THREADS: LazyLock<Threads> =
    LazyLock::new(|| Threads::start(NonZero::<usize>::MIN).unwrap());

async fn listener(tls: &Tls) -> (TlsListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = TlsListener::new(socket, tls.clone(), THREADS.places());
    let address = listener.local_address().unwrap();
    (listener, address)
}

/// A client that trusts an authority, with a certificate or without.
fn client(trusts: &CertificateAuthority, shows: Option<&Issued>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusts.bundle_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes())
                .map(Result::unwrap)
                .collect();
            let key = issued.key.as_ref().unwrap().expose_pem();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Connects and reads one byte: in TLS 1.3 the client learns only then that it was refused.
async fn connect(
    client: TlsConnector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = client
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await?;
    stream.read_u8().await?;
    Ok(stream)
}

/// Lets the listener run until one client is in, and gives that client its byte.
async fn accept_one(listener: &mut TlsListener) -> TlsPeer {
    let (mut stream, peer, _place) = listener.accept().await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_ref()));
    stream.write_u8(1).await.unwrap();
    stream.flush().await.unwrap();
    peer
}

/// The leaf that the server shows.
fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[tokio::test]
async fn a_client_of_our_authority_is_in_with_the_identity_it_proved() {
    let authority = authority("mesh.example");
    let (tls, _upkeep) = load(from_authority(&authority), SystemTime::now()).unwrap();
    let (mut listener, address) = listener(&tls).await;
    let issued = issue_at(&authority, SystemTime::now());
    let (peer, stream) = tokio::join!(
        accept_one(&mut listener),
        connect(client(&authority, Some(&issued)), address)
    );
    assert_eq!(peer.proven.spiffe_id(), &cart(&authority));
    assert_eq!(
        peer.address,
        stream.unwrap().get_ref().0.local_addr().unwrap()
    );
    assert_eq!(
        (listener.counts().accepted(), listener.counts().refused()),
        (1, 0)
    );
}

#[tokio::test]
async fn whoever_proves_nothing_is_refused_and_the_next_one_is_served() {
    let ours = authority("mesh.example");
    let theirs = authority("mesh.example");
    let (tls, _upkeep) = load(from_authority(&ours), SystemTime::now()).unwrap();
    let (mut listener, address) = listener(&tls).await;
    let now = SystemTime::now();
    let foreign = issue_at(&theirs, now);
    let expired = issue_at(&ours, now - 30 * HOUR);
    let early = issue_at(&ours, now + HOUR);
    let good = issue_at(&ours, now);
    let clients = async {
        for (shows, alert) in [
            (None, "CertificateRequired"),
            (Some(&foreign), "UnknownCA"),
            (Some(&expired), "CertificateExpired"),
            (Some(&early), "CertificateExpired"),
        ] {
            let error = connect(client(&ours, shows), address).await.unwrap_err();
            assert!(
                error.to_string().contains(alert),
                "{error} instead of {alert}"
            );
        }
        // Not TLS at all, and gone at once.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        drop(TcpStream::connect(address).await.unwrap());
        connect(client(&ours, Some(&good)), address).await.unwrap();
    };
    tokio::join!(accept_one(&mut listener), clients);
    let counts = listener.counts();
    assert_eq!(counts.accepted(), 1);
    assert!(counts.refused() >= 5, "{counts:?}");
}

#[tokio::test]
async fn given_authorities_vouch_for_the_configured_trust_domains_only() {
    let authority = authority("other.example");
    let issued = issue_at(&authority, SystemTime::now());
    let directory = tempfile::tempdir().unwrap();
    for (trust_domain, welcome) in [("mesh.example", false), ("other.example", true)] {
        let files = write_server_files(directory.path(), &authority, SystemTime::now());
        let files = TlsFiles {
            trust_domains: [trust_domain.parse().unwrap()].into(),
            ..files
        };
        let (tls, _upkeep) = load(TlsSource::Files(files), SystemTime::now()).unwrap();
        let (mut listener, address) = listener(&tls).await;
        let client = connect(client(&authority, Some(&issued)), address);
        if welcome {
            let (peer, stream) = tokio::join!(accept_one(&mut listener), client);
            stream.unwrap();
            assert_eq!(
                peer.proven.spiffe_id().to_string(),
                "spiffe://other.example/ns/shop/sa/cart"
            );
        } else {
            let error = tokio::select! {
                refused = client => refused.unwrap_err(),
                _ = listener.accept() => panic!("a foreign trust domain was let in"),
            };
            assert!(error.to_string().contains("CertificateUnknown"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_dropped_and_keeps_nobody_waiting() {
    let authority = authority("mesh.example");
    let (tls, _upkeep) = load(from_authority(&authority), SystemTime::now()).unwrap();
    let (mut listener, address) = listener(&tls).await;
    let counts = listener.counts();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut ended = Vec::new();
    tokio::select! {
        _ = listener.accept() => panic!("a silent client was let in"),
        read = silent.read_to_end(&mut ended) => assert_eq!(read.unwrap_or(0), 0),
    }
    // The connection is dropped before it is counted.
    tokio::select! {
        _ = listener.accept() => panic!("nobody else is there"),
        () = async { while counts.refused() == 0 { tokio::task::yield_now().await } } => {}
    }
}

#[tokio::test]
async fn our_certificate_is_renewed_before_it_expires_and_new_connections_get_it() {
    let authority = authority("mesh.example");
    let start = SystemTime::now() - 17 * HOUR;
    let (tls, mut upkeep) = load(from_authority(&authority), start).unwrap();
    let issued = issue_at(&authority, SystemTime::now());
    let (mut listener, address) = listener(&tls).await;
    let client = || connect(client(&authority, Some(&issued)), address);
    let mut status = tls.status();
    assert_eq!(
        status.borrow_and_update().not_after,
        truncated(start + 24 * HOUR)
    );

    upkeep.check(start + 15 * HOUR);
    assert!(!status.has_changed().unwrap());
    let (_, before) = tokio::join!(accept_one(&mut listener), client());
    upkeep.check(start + 16 * HOUR);
    assert_eq!(
        status.borrow_and_update().not_after,
        truncated(start + 40 * HOUR)
    );
    let (_, after) = tokio::join!(accept_one(&mut listener), client());
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_ne!(shown(&before), shown(&after));

    // A clock that was wrong and is set back: the certificate would be one of the future.
    upkeep.check(start);
    assert_eq!(
        status.borrow_and_update().not_after,
        truncated(start + 24 * HOUR)
    );
}

#[tokio::test]
async fn given_files_are_read_again_and_what_is_broken_changes_nothing() {
    let authority = authority("mesh.example");
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let files = write_server_files(directory.path(), &authority, now);
    let (tls, mut upkeep) = load(TlsSource::Files(files.clone()), now).unwrap();
    let status = tls.status();
    let problem = || status.borrow().problem.clone().unwrap_or_default();
    let issued = issue_at(&authority, now);
    let (mut listener, address) = listener(&tls).await;
    let client = || connect(client(&authority, Some(&issued)), address);
    let (_, first) = tokio::join!(accept_one(&mut listener), client());

    // Certificate replaced, key not yet.
    let old_key = std::fs::read(&files.key).unwrap();
    write_server_files(directory.path(), &authority, now);
    let new_key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, &old_key).unwrap();
    upkeep.check(now);
    assert!(
        problem().contains("does not belong to the server certificate"),
        "{}",
        problem()
    );
    // Half of the key, none of it, a file that is gone, a bundle that is none.
    std::fs::write(&files.key, &new_key[..new_key.len() / 2]).unwrap();
    upkeep.check(now);
    assert!(
        problem().contains("has no private key in PEM form"),
        "{}",
        problem()
    );
    std::fs::remove_file(&files.key).unwrap();
    upkeep.check(now);
    assert!(problem().contains("cannot read "), "{}", problem());
    std::fs::write(&files.key, vec![b'x'; 2_000_000]).unwrap();
    upkeep.check(now);
    assert!(problem().contains("has 2000000 bytes"), "{}", problem());
    std::fs::write(&files.key, &new_key).unwrap();
    std::fs::write(&files.client_authorities, "").unwrap();
    upkeep.check(now);
    assert!(
        problem().contains("has no certificate in PEM form"),
        "{}",
        problem()
    );
    let (_, meanwhile) = tokio::join!(accept_one(&mut listener), client());
    assert_eq!(shown(&first.unwrap()), shown(meanwhile.as_ref().unwrap()));

    std::fs::write(&files.client_authorities, authority.bundle_pem()).unwrap();
    upkeep.check(now);
    assert_eq!(problem(), "");
    let (_, second) = tokio::join!(accept_one(&mut listener), client());
    assert_ne!(shown(&meanwhile.unwrap()), shown(&second.unwrap()));
}

#[tokio::test]
async fn a_client_authority_that_is_taken_away_proves_nobody_any_more() {
    let (old, new) = (authority("mesh.example"), authority("mesh.example"));
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let files = write_server_files(directory.path(), &old, now);
    let (tls, mut upkeep) = load(TlsSource::Files(files.clone()), now).unwrap();
    std::fs::write(&files.client_authorities, new.bundle_pem()).unwrap();
    upkeep.check(now);
    let (mut listener, address) = listener(&tls).await;
    let (of_old, of_new) = (issue_at(&old, now), issue_at(&new, now));
    let clients = async {
        connect(client(&old, Some(&of_old)), address)
            .await
            .unwrap_err();
        connect(client(&old, Some(&of_new)), address).await.unwrap();
    };
    tokio::join!(accept_one(&mut listener), clients);
}

#[test]
fn files_that_cannot_be_served_are_named_at_the_start() {
    let authority = authority("mesh.example");
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let files = write_server_files(directory.path(), &authority, now);
    let check = |files: TlsFiles, expected: &str| {
        let error = load(TlsSource::Files(files), now).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let missing = directory.path().join("missing.pem");
    check(
        TlsFiles {
            certificate: missing,
            ..files.clone()
        },
        "missing.pem: ",
    );
    check(
        TlsFiles {
            certificate: directory.path().to_owned(),
            ..files.clone()
        },
        "cannot read ",
    );
    check(
        TlsFiles {
            certificate: files.key.clone(),
            ..files.clone()
        },
        "key.pem has no certificate",
    );
    check(
        TlsFiles {
            key: files.certificate.clone(),
            ..files.clone()
        },
        "cert.pem has no private key",
    );
    check(
        TlsFiles {
            client_authorities: files.key.clone(),
            ..files
        },
        "key.pem cannot be used",
    );
}

#[tokio::test]
async fn the_upkeep_ends_when_it_is_cancelled() {
    let authority = authority("mesh.example");
    let (_tls, upkeep) = load(from_authority(&authority), SystemTime::now()).unwrap();
    let cancelled = tokio_util::sync::CancellationToken::new();
    cancelled.cancel();
    upkeep.run(cancelled).await.unwrap();
}

fn write_server_files(
    directory: &Path,
    authority: &CertificateAuthority,
    at: SystemTime,
) -> TlsFiles {
    let identity = control_plane_identity(authority.trust_domain()).unwrap();
    let names = ServerNames::parse(["localhost"]).unwrap();
    let issued = authority
        .issue(&identity, &names, Validity::default(), at)
        .unwrap();
    bowline_cert_authority::write_files(directory, &issued).unwrap();
    TlsFiles {
        certificate: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        client_authorities: directory.join("bundle.pem"),
        trust_domains: [authority.trust_domain().clone()].into(),
    }
}

/// Certificates count in seconds.
fn truncated(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
