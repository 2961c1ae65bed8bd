//! Certificates for keys that others made.

use bowline_cert_authority::{IssueError, Issued, ServerNames, Validity};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::mesh::{authority, cart, chain, now};

fn issue_for(request: &str) -> Result<Issued, IssueError> {
    authority().issue_for_request(
        request,
        &cart(),
        &ServerNames::none(),
        Validity::default(),
        now(),
    )
}

fn request_pem(key: &KeyPair, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn the_key_is_the_senders_and_nothing_else_is() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issued = issue_for(&request_pem(&key, &["admin.example", "10.0.0.1"])).unwrap();
        assert_eq!(issued.key, None);
        let der = chain(&issued.chain_pem);
        let (_, leaf) = X509Certificate::from_der(&der[0]).unwrap();
        assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
        assert!(!leaf.is_ca(), "the request asked to be an authority");
        let names = leaf
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .clone();
        assert_eq!(names.len(), 1, "the request's names are ignored: {names:?}");
    }
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let key = KeyPair::generate().unwrap();
    let request = request_pem(&key, &[]);
    let der = der_of(&request);
    let mut forged = der.clone();
    *forged.last_mut().unwrap() ^= 1;
    let error = issue_for(&pem(&forged)).unwrap_err();
    assert_eq!(error, IssueError::RequestSignature);
    // Another's public key under an own signature.
    let other = KeyPair::generate().unwrap();
    let position = der
        .windows(65)
        .position(|window| window == key.der_bytes())
        .unwrap();
    let mut stolen = der;
    stolen[position..position + 65].copy_from_slice(other.der_bytes());
    assert_eq!(
        issue_for(&pem(&stolen)).unwrap_err(),
        IssueError::RequestSignature
    );
}

#[test]
fn what_is_no_request_is_refused() {
    let key = KeyPair::generate().unwrap();
    let whole = der_of(&request_pem(&key, &[]));
    let mut trailing = whole.clone();
    trailing.push(0);
    for request in [
        String::new(),
        "x".repeat(100_000),
        key.serialize_pem(),
        pem(&whole[..40]),
        pem(&trailing),
    ] {
        assert_eq!(
            issue_for(&request).unwrap_err(),
            IssueError::MalformedRequest
        );
    }
}

#[test]
fn an_rsa_key_is_refused() {
    assert_eq!(issue_for(RSA_REQUEST).unwrap_err(), IssueError::KeyKind);
}

fn der_of(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

/// Base64 without a library: a request in PEM form.
fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
    for chunk in der.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                text.push(char::from(
                    ALPHABET[(bits >> (18 - 6 * position) & 63) as usize],
                ));
            } else {
                text.push('=');
            }
        }
    }
    text.push_str("\n-----END CERTIFICATE REQUEST-----\n");
    text
}

/// `openssl req -new -newkey rsa:2048 -nodes -subj /CN=x`
const RSA_REQUEST: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIICUTCCATkCAQAwDDEKMAgGA1UEAwwBeDCCASIwDQYJKoZIhvcNAQEBBQADggEP
ADCCAQoCggEBAN6lLGiOXOIWgwonrhB7jl6eIiTk3fLdt8Y2nlKWwife2eW5nXHM
AjlQDnE5Er37TYvL+WHNBjzIQQ8s+iNJmYM+sJGw0B6eGucyqLBGsSuqeeXnZzMQ
jhkffUOotw/bsWSgZtbYupVCti5gWqo35/FRor2xbNPXvZ3Um+KFyzWM8OLO4Qul
8Dgi439PGkJWJCQK6U9U+oNK9ntHbjpEK7XvAsZioB7zYsog1pm342L6nODwrTtQ
eutD8TBD7vxI5BckCEKH4WZvlupdTYUGKg25wrFBbu75NBLTKpicePnRytauxZRG
4/csFtWzgkL6SRYt7w2If+nBWozHDRibQdMCAwEAAaAAMA0GCSqGSIb3DQEBCwUA
A4IBAQAUwwUIoNmn1bqssMlmGTstNJ2J1/N5VddO4lZWKwURf9RekNCx6OV91qZd
QD/73CQRC9/3N29SVKYvfgKe+3YqEiDO9339wakg6VuP359q/b2+M3sgNC7wKir6
NC5j6zC4bMYRYiKVTkp/04ruAeYYiILS9QdiKlusHeibpKwfWWNByQgIKzEndKJc
MBYcgsjB1RFtZNY4mlrh/Y6ImfwlYmVSGBOte8m+Xma3ePYg9hFfb3B2mzvVb8XZ
kr58n/PhlvdF1t3MRl/86vnl/x7dWjEZvZVJ/ZgXgWWdrz4ydDngj1QqAZp3AQQR
nxqfzaDUxhqQSA8Vtw/QJEoJBg1j
-----END CERTIFICATE REQUEST-----
";
