//! What proves an identity, and what does not.

use std::time::SystemTime;

use bowline_cert_authority::{
    BundleError, CertificateAuthority, ServerNames, Validity, Verifier, VerifyError,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::mesh::{DAY, HOUR, authority, cart, chain, issue, now, trust_domain};

/// An authority that signs anything, and whose root is trusted.
struct Careless {
    issuer: Issuer<'static, KeyPair>,
    verifier: Verifier,
}

impl Careless {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let bundle = params.self_signed(&key).unwrap().pem();
        let verifier = Verifier::new(&bundle, [trust_domain()]).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            verifier,
        }
    }

    fn verify(
        &self,
        names: &[SanType],
        change: impl Fn(&mut CertificateParams),
    ) -> Result<String, VerifyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (now() - DAY).into();
        params.not_after = (now() + DAY).into();
        change(&mut params);
        let certificate = params
            .signed_by(&KeyPair::generate().unwrap(), &self.issuer)
            .unwrap();
        let proven = self
            .verifier
            .proven_identity(&[certificate.der().clone()], now())?;
        Ok(proven.spiffe_id().to_string())
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn check(
    authority: &CertificateAuthority,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<String, VerifyError> {
    let proven = authority.verifier().unwrap().proven_identity(chain, now)?;
    Ok(proven.spiffe_id().to_string())
}

#[test]
fn our_certificate_proves_its_identity_as_long_as_it_is_valid() {
    let authority = authority();
    let leaf = chain(&issue(&authority).chain_pem);
    let identity = "spiffe://mesh.example/ns/shop/sa/cart".to_owned();
    assert_eq!(check(&authority, &leaf, now()), Ok(identity.clone()));
    assert_eq!(check(&authority, &leaf, now() + DAY - HOUR), Ok(identity));
    let expired = VerifyError::Expired {
        not_after: "2026-05-29T20:26:40Z".to_owned(),
    };
    assert_eq!(check(&authority, &leaf, now() + DAY + HOUR), Err(expired));
    let early = VerifyError::NotYetValid {
        not_before: "2026-05-28T20:25:40Z".to_owned(),
    };
    assert_eq!(check(&authority, &leaf, now() - HOUR), Err(early));
}

#[test]
fn another_authority_proves_nothing() {
    let (ours, theirs) = (authority(), authority());
    let leaf = chain(&issue(&theirs).chain_pem);
    assert_eq!(
        check(&ours, &leaf, now()),
        Err(VerifyError::UnknownAuthority)
    );
    // Sending the other root along does not help.
    let with_root = [leaf, chain(theirs.bundle_pem())].concat();
    assert_eq!(
        check(&ours, &with_root, now()),
        Err(VerifyError::UnknownAuthority)
    );
}

#[test]
fn authorities_are_no_workloads() {
    let authority = authority();
    let root = chain(authority.bundle_pem());
    assert_eq!(check(&authority, &root, now()), Err(VerifyError::Authority));
    let name = [uri("spiffe://mesh.example/ns/shop/sa/cart")];
    let careless = Careless::new();
    let result = careless.verify(&name, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(result, Err(VerifyError::Authority));
    let result = careless.verify(&name, |params| {
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    });
    assert_eq!(result, Err(VerifyError::Authority));
}

#[test]
fn exactly_one_spiffe_id_of_our_trust_domain_is_accepted() {
    let careless = Careless::new();
    let verify = |names: &[SanType]| careless.verify(names, |_| {});
    let good = "spiffe://mesh.example/ns/shop/sa/cart";
    let dns = SanType::DnsName("cart.shop".try_into().unwrap());
    assert_eq!(verify(&[uri(good)]), Ok(good.to_owned()));
    assert_eq!(verify(&[dns.clone(), uri(good)]), Ok(good.to_owned()));
    assert_eq!(verify(&[]), Err(VerifyError::NoIdentity));
    assert_eq!(verify(&[dns]), Err(VerifyError::NoIdentity));
    let other = uri("https://mesh.example/");
    assert_eq!(
        verify(&[uri(good), other]),
        Err(VerifyError::SeveralIdentities { count: 2 })
    );
    assert_eq!(
        verify(&[uri(good), uri(good)]),
        Err(VerifyError::SeveralIdentities { count: 2 })
    );
    for text in [
        "https://mesh.example/",
        "spiffe://mesh.example/../x",
        "spiffe://mesh.example",
        "SPIFFE://mesh.example/x",
    ] {
        assert!(
            matches!(verify(&[uri(text)]), Err(VerifyError::NotSpiffe { .. })),
            "{text}"
        );
    }
    let foreign = "spiffe://other.example/ns/shop/sa/cart";
    let refused = VerifyError::OtherTrustDomain {
        identity: foreign.parse().unwrap(),
    };
    assert_eq!(verify(&[uri(foreign)]), Err(refused));
}

#[test]
fn a_certificate_for_servers_only_proves_nothing_as_a_client() {
    let name = [uri("spiffe://mesh.example/ns/shop/sa/cart")];
    let result = Careless::new().verify(&name, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(result, Err(VerifyError::NotForClients));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let authority = authority();
    assert_eq!(
        check(&authority, &[], now()),
        Err(VerifyError::NoCertificate)
    );
    let leaf = chain(&issue(&authority).chain_pem);
    for der in [Vec::new(), vec![0x30; 5000], leaf[0][..100].to_vec()] {
        assert_eq!(
            check(&authority, &[der.into()], now()),
            Err(VerifyError::Malformed)
        );
    }
    let mut altered = leaf[0].to_vec();
    let position = altered
        .windows(4)
        .position(|window| window == b"cart")
        .unwrap();
    altered[position..position + 4].copy_from_slice(b"bank");
    assert_eq!(
        check(&authority, &[altered.into()], now()),
        Err(VerifyError::UnknownAuthority)
    );
}

#[test]
fn a_bundle_without_roots_is_refused() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    for bundle in ["", "no pem", key.as_str()] {
        assert_eq!(
            Verifier::new(bundle, [trust_domain()]).unwrap_err(),
            BundleError::Empty
        );
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        Verifier::new(broken, [trust_domain()]),
        Err(BundleError::Malformed { .. })
    ));
}

#[test]
fn a_bundle_may_have_several_roots() {
    let (old, new) = (authority(), authority());
    let bundle = format!("{}{}", old.bundle_pem(), new.bundle_pem());
    let verifier = Verifier::new(&bundle, [trust_domain()]).unwrap();
    for authority in [old, new] {
        let issued = authority
            .issue(&cart(), &ServerNames::none(), Validity::default(), now())
            .unwrap();
        verifier
            .proven_identity(&chain(&issued.chain_pem), now())
            .unwrap();
    }
}
