//! How the Consul agent for tests is reached: TLS, HTTP/2, a unix socket.

use std::sync::Arc;

use bowline_harness::consul::{ConsulAgent, Instance};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const NAMES: &str = "/v1/catalog/services";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Certificate {
    Shown,
    None,
}

async fn connect(
    agent: &ConsulAgent,
    protocol: &str,
    certificate: Certificate,
) -> std::io::Result<TlsStream<TcpStream>> {
    let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).expect("it is PEM");
    let mut roots = RootCertStore::empty();
    let authority = pem(agent.authority().expect("it speaks TLS"));
    roots.add(authority).expect("it is an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_root_certificates(roots);
    let mut client = match certificate {
        Certificate::None => builder.with_no_client_auth(),
        Certificate::Shown => {
            let own = agent.client().expect("it speaks TLS");
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("it is PEM");
            builder
                .with_client_auth_cert(vec![pem(&own.certificate)], key)
                .expect("they belong together")
        }
    };
    client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(agent.address().expect("it has a port")).await?;
    let name = ServerName::try_from("127.0.0.1").expect("it is an address");
    TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
}

async fn over_http1(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> StatusCode {
    let (mut sender, driver) = conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("it is connected");
    let mut driving = JoinSet::new();
    driving.spawn(driver);
    let request = Request::get(NAMES).header("host", "consul");
    let request = request.body(Empty::<Bytes>::new()).expect("it is sound");
    let answer: Response<Incoming> = sender.send_request(request).await.expect("an answer");
    answer.status()
}

#[tokio::test]
async fn https_speaks_http2_and_http1() {
    let agent = ConsulAgent::builder().https().start().await.unwrap();
    agent.register(&Instance::new("web", "web-1", "10.0.0.1", 80));
    let stream = connect(&agent, "http/1.1", Certificate::None)
        .await
        .unwrap();
    assert_eq!(over_http1(stream).await, StatusCode::OK);

    let stream = connect(&agent, "h2", Certificate::None).await.unwrap();
    let (mut sender, driver) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(driver);
    for _ in 0..3 {
        let request = Request::get(format!("https://consul{NAMES}"));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let versions: Vec<_> = agent
        .requests()
        .iter()
        .map(|request| request.version)
        .collect();
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    assert_eq!(versions, [one, two, two, two]);
    assert!(agent.connections_peak() <= 2);
    assert!(agent.url().starts_with("https://127.0.0.1:"));
}

#[tokio::test]
async fn clients_prove_who_they_are_where_that_is_asked_for() {
    let agent = ConsulAgent::builder().mutual_tls().start().await.unwrap();
    let known = connect(&agent, "http/1.1", Certificate::Shown)
        .await
        .unwrap();
    assert_eq!(over_http1(known).await, StatusCode::OK);
    let refused = match connect(&agent, "http/1.1", Certificate::None).await {
        // In TLS 1.3 the client hears of it when it reads.
        Ok(mut stream) => stream.read_u8().await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn a_client_with_too_many_connections_hears_it_after_the_handshake() {
    let agent = ConsulAgent::builder()
        .https()
        .connections_max(1)
        .start()
        .await
        .unwrap();
    let first = connect(&agent, "h2", Certificate::None).await.unwrap();
    let mut second = connect(&agent, "h2", Certificate::None).await.unwrap();
    let mut heard = String::new();
    second.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 429 "), "{heard}");
    drop(first);
}

#[tokio::test]
async fn a_unix_socket_is_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consul.sock");
    let mut agent = ConsulAgent::builder().unix(&path).start().await.unwrap();
    let stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(over_http1(stream).await, StatusCode::OK);
    assert_eq!(agent.url(), format!("unix://{}", path.display()));
    assert!(agent.address().is_err());
    agent.start_again().await.unwrap();
    let stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(over_http1(stream).await, StatusCode::OK);
}
