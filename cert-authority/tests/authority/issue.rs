//! What certificates look like.

use std::time::{Duration, SystemTime};

use bowline_cert_authority::{IssueError, ServerNames, Validity, control_plane_identity};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::mesh::{DAY, HOUR, authority, cart, chain, issue, now, trust_domain};

#[test]
fn a_leaf_carries_its_identity_and_no_power() {
    let authority = authority();
    let issued = issue(&authority);
    let der = chain(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&der[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("spiffe://mesh.example/ns/shop/sa/cart")]
    );
    assert!(names.critical, "without a subject the names are critical");
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && purposes.client_auth);
    let root = chain(&issued.bundle_pem);
    let (_, root) = X509Certificate::from_der(&root[0]).unwrap();
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(leaf.issuer(), root.subject());
}

#[test]
fn a_leaf_is_valid_from_a_minute_ago_for_as_long_as_asked() {
    let authority = authority();
    let validity = Validity::new(HOUR).unwrap();
    let issued = authority
        .issue(&cart(), &ServerNames::none(), validity, now())
        .unwrap();
    let der = chain(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&der[0]).unwrap();
    let seconds = now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    assert_eq!(leaf.validity().not_before.timestamp(), seconds - 60);
    assert_eq!(leaf.validity().not_after.timestamp(), seconds + 3600);
    assert_eq!(issued.not_after, now() + HOUR);
    assert_eq!(issued.renew_at(), now() + HOUR * 2 / 3);
}

#[test]
fn nothing_outlives_the_root_and_an_expired_root_issues_nothing() {
    let authority = authority();
    let late = authority.not_after() - HOUR;
    let issued = authority
        .issue(&cart(), &ServerNames::none(), Validity::default(), late)
        .unwrap();
    assert_eq!(issued.not_after, authority.not_after());
    let error = authority.issue(
        &cart(),
        &ServerNames::none(),
        Validity::default(),
        authority.not_after(),
    );
    assert_eq!(error.unwrap_err(), IssueError::RootExpired);
}

#[test]
fn serial_numbers_differ() {
    let authority = authority();
    let serial = || {
        let der = chain(&issue(&authority).chain_pem);
        let (_, leaf) = X509Certificate::from_der(&der[0]).unwrap();
        leaf.raw_serial().to_vec()
    };
    let (first, second) = (serial(), serial());
    assert_ne!(first, second);
    assert_eq!((first.len(), second.len()), (16, 16));
}

#[test]
fn a_server_has_names_besides_its_identity() {
    let authority = authority();
    let identity = control_plane_identity(&trust_domain()).unwrap();
    assert_eq!(
        identity.to_string(),
        "spiffe://mesh.example/ns/bowline/sa/control-plane"
    );
    let names = ServerNames::parse(["localhost", "127.0.0.1", "::1", "localhost"]).unwrap();
    let issued = authority
        .issue(&identity, &names, Validity::default(), now())
        .unwrap();
    let der = chain(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&der[0]).unwrap();
    let names = &leaf
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    let ipv6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(
        names.as_slice(),
        [
            GeneralName::URI("spiffe://mesh.example/ns/bowline/sa/control-plane"),
            GeneralName::DNSName("localhost"),
            GeneralName::IPAddress(&[127, 0, 0, 1]),
            GeneralName::IPAddress(&ipv6),
        ]
    );
}

#[test]
fn what_cannot_be_issued_is_refused_by_name() {
    for name in ["", "a b", "-", "10.0.0.256/8", "xds.example:15012"] {
        let error = ServerNames::parse([name]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("'{name}' is neither a DNS name nor an IP address")
        );
    }
    for seconds in [0, 59, 90 * 24 * 60 * 60 + 1] {
        let error = Validity::new(Duration::from_secs(seconds)).unwrap_err();
        assert_eq!(error, IssueError::Validity { seconds });
    }
    Validity::new(DAY * 90).unwrap();
    let authority = authority();
    for (identity, reason) in [
        (
            "spiffe://other.example/ns/shop/sa/cart",
            "vouches for trust domain 'mesh.example' only",
        ),
        (
            "spiffe://mesh.example",
            "names a trust domain, not a workload",
        ),
    ] {
        let identity = identity.parse().unwrap();
        let error = authority
            .issue(&identity, &ServerNames::none(), Validity::default(), now())
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}
