//! The root in the state store.

use std::sync::Arc;

use bowline_cert_authority::{CertificateAuthority, OpenError, PrivateKey};
use bowline_state::{Embedded, Memory, Prefix, Store, Writes};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::mesh::{DAY, authority, chain, issue, now, trust_domain};

#[test]
fn a_restart_has_the_same_root_and_certificates_stay_valid() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let store = Embedded::open(directory.path()).unwrap();
        CertificateAuthority::open(&store, &trust_domain(), now()).unwrap()
    };
    let (before, after) = (open(), open());
    assert_eq!(before.bundle_pem(), after.bundle_pem());
    for (issuer, verifier) in [(&before, &after), (&after, &before)] {
        let leaf = chain(&issue(issuer).chain_pem);
        verifier
            .verifier()
            .unwrap()
            .proven_identity(&leaf, now())
            .unwrap();
    }
}

#[test]
fn replicas_that_start_at_once_have_one_root() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let bundles = std::thread::scope(|scope| {
        let open = || CertificateAuthority::open(&*store, &trust_domain(), now()).unwrap();
        let replicas: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        let opened = replicas.into_iter().map(|replica| replica.join().unwrap());
        opened
            .map(|authority| authority.bundle_pem().to_owned())
            .collect::<Vec<_>>()
    });
    assert!(bundles.iter().all(|bundle| *bundle == bundles[0]));
}

#[test]
fn another_trust_domain_on_the_same_store_is_refused() {
    let store = Memory::new();
    CertificateAuthority::open(&store, &trust_domain(), now()).unwrap();
    let other = "other.example".parse().unwrap();
    let error = CertificateAuthority::open(&store, &other, now()).unwrap_err();
    assert!(matches!(error, OpenError::OtherTrustDomain { .. }));
    let text = error.to_string();
    assert!(
        text.contains("'mesh.example'") && text.contains("'other.example'"),
        "{text}"
    );
}

#[test]
fn a_damaged_root_is_refused_and_kept() {
    let key = Prefix::of("certificate-authority").key("root");
    let store = Memory::new();
    CertificateAuthority::open(&store, &trust_domain(), now()).unwrap();
    let whole = String::from_utf8(store.get(&key).unwrap().unwrap().value.to_vec()).unwrap();
    let other = Memory::new();
    CertificateAuthority::open(&other, &trust_domain(), now()).unwrap();
    let foreign = String::from_utf8(other.get(&key).unwrap().unwrap().value.to_vec()).unwrap();
    let split = |stored: &str| {
        let key_start = stored.find("-----BEGIN PRIVATE KEY-----").unwrap();
        let (certificate, key) = stored.split_at(key_start);
        (certificate.to_owned(), key.to_owned())
    };
    let ((certificate, own_key), (_, foreign_key)) = (split(&whole), split(&foreign));
    for (damaged, reason) in [
        (String::new(), "has no certificate"),
        ("no root".to_owned(), "has no certificate"),
        (certificate.clone(), "has no private key"),
        (own_key, "has no certificate"),
        (
            format!("{certificate}{foreign_key}"),
            "a key that does not belong to its certificate",
        ),
    ] {
        let store = Memory::new();
        let mut writes = Writes::new();
        writes.put(key.clone(), damaged.clone());
        store.commit(&[], &writes).unwrap();
        let error = CertificateAuthority::open(&store, &trust_domain(), now()).unwrap_err();
        assert!(matches!(error, OpenError::Unusable(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(store.get(&key).unwrap().unwrap().value, damaged.as_bytes());
    }
}

#[test]
fn the_root_names_its_trust_domain_and_may_only_sign() {
    let authority = authority();
    let der = chain(authority.bundle_pem());
    let (_, root) = X509Certificate::from_der(&der[0]).unwrap();
    let names = &root
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    assert_eq!(
        names.as_slice(),
        [GeneralName::URI("spiffe://mesh.example")]
    );
    assert!(root.basic_constraints().unwrap().unwrap().value.ca);
    let usage = root.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && !usage.digital_signature());
    assert_eq!(
        authority.not_after().duration_since(now()).unwrap(),
        DAY * 3650
    );
}

#[test]
fn keys_do_not_print() {
    let authority = authority();
    let issued = issue(&authority);
    let printed = format!("{authority:?} {issued:?}");
    assert!(printed.contains("[redacted]"));
    assert!(!printed.contains("PRIVATE KEY"), "{printed}");
    assert_eq!(
        issued
            .key
            .map(|key: PrivateKey| format!("{key:?}"))
            .unwrap(),
        "[redacted]"
    );
}
