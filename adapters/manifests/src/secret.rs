//! Secrets with certificates. What they hold is looked at while it is read, and nothing of it is kept.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_mesh::Object;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};
use zeroize::{Zeroize, Zeroizing};

use crate::{Metadata, convert::Scope, metadata::Present, report::Report};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &["immutable"];

/// The type of Secrets with certificates.
pub(crate) const TLS: &str = "kubernetes.io/tls";

/// A Secret, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    r#type: SecretType,
    #[serde(default, deserialize_with = "held_as_base64")]
    data: Held,
    /// What is written here counts more.
    #[serde(default, deserialize_with = "held_as_text")]
    string_data: Held,
}

/// What is known of a Secret as a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// The Secret is there. What it holds was not looked at.
    Unseen,
    /// Certificate and key are there.
    Usable,
    /// The Secret is of another type.
    OtherType,
    /// It has no `tls.crt`.
    NoCertificate,
    /// It has no `tls.key`.
    NoKey,
    /// What its `tls.crt` holds is no certificate as PEM.
    MalformedCertificate,
    /// What its `tls.key` holds is no private key as PEM.
    MalformedKey,
}

impl Certificate {
    /// Why it cannot be used, where that is known.
    pub(crate) fn flaw(self) -> Option<&'static str> {
        match self {
            Self::Unseen | Self::Usable => None,
            Self::OtherType => Some("is not of the type kubernetes.io/tls"),
            Self::NoCertificate => Some("has no tls.crt"),
            Self::NoKey => Some("has no tls.key"),
            Self::MalformedCertificate => Some("has no certificate as PEM in tls.crt"),
            Self::MalformedKey => Some("has no private key as PEM in tls.key"),
        }
    }
}

impl Secret {
    /// Whether it can be used as a certificate.
    pub fn certificate(&self) -> Certificate {
        let certificate = self.string_data.certificate.or(self.data.certificate);
        let key = self.string_data.key.or(self.data.key);
        match (self.r#type, certificate, key) {
            (SecretType::Other, _, _) => Certificate::OtherType,
            (SecretType::Tls, None, _) => Certificate::NoCertificate,
            (SecretType::Tls, Some(Form::Malformed), _) => Certificate::MalformedCertificate,
            (SecretType::Tls, Some(Form::Pem), None) => Certificate::NoKey,
            (SecretType::Tls, Some(Form::Pem), Some(Form::Malformed)) => Certificate::MalformedKey,
            (SecretType::Tls, Some(Form::Pem), Some(Form::Pem)) => Certificate::Usable,
        }
    }
}

/// It becomes nothing by itself.
pub(crate) fn objects(_: &Secret, _: &Scope<'_>, _: &mut Report<'_>) -> Vec<Object> {
    Vec::new()
}

/// Whether a Secret says that it is one with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Option<Arc<str>>")]
enum SecretType {
    Tls,
    #[default]
    Other,
}

impl From<Option<Arc<str>>> for SecretType {
    fn from(text: Option<Arc<str>>) -> Self {
        match text.as_deref() {
            Some(TLS) => Self::Tls,
            Some(_) | None => Self::Other,
        }
    }
}

/// What was found where PEM should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Pem,
    Malformed,
}

/// What a Secret holds, as it was found to be while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    certificate: Option<Form>,
    key: Option<Form>,
}

/// How a Secret has what it holds.
#[derive(Clone, Copy)]
enum Written {
    Base64,
    Text,
}

fn held_as_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
    held(Written::Base64, deserializer)
}

fn held_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
    held(Written::Text, deserializer)
}

fn held<'de, D: Deserializer<'de>>(written: Written, deserializer: D) -> Result<Held, D::Error> {
    let held = deserializer.deserialize_any(Map(written));
    // The error itself may show what is secret.
    held.map_err(|_| D::Error::custom("what a Secret holds must be a map of texts"))
}

struct Map(Written);

impl<'de> Visitor<'de> for Map {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_unit<E>(self) -> Result<Held, E> {
        Ok(Held::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Held, A::Error> {
        let mut held = Held::default();
        while let Some(name) = entries.next_key::<String>()? {
            let pem = |is_pem| Pem {
                written: self.0,
                is_pem,
            };
            match name.as_str() {
                "tls.crt" => {
                    held.certificate = Some(entries.next_value_seed(pem(is_certificate))?);
                }
                "tls.key" => held.key = Some(entries.next_value_seed(pem(is_key))?),
                _ => {
                    entries.next_value::<Present>()?;
                }
            }
        }
        Ok(held)
    }
}

/// Looks at a text where it stands, and keeps only what it is.
struct Pem {
    written: Written,
    is_pem: fn(&[u8]) -> bool,
}

impl<'de> DeserializeSeed<'de> for Pem {
    type Value = Form;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Form, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Pem {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Form, E> {
        let is_pem = match self.written {
            Written::Text => (self.is_pem)(text.as_bytes()),
            Written::Base64 => {
                // What could be decoded is overwritten also where the rest could not.
                let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
                let decoded = STANDARD.decode_vec(text, &mut bytes);
                decoded.is_ok() && (self.is_pem)(&bytes)
            }
        };
        Ok(match is_pem {
            true => Form::Pem,
            false => Form::Malformed,
        })
    }
}

fn is_certificate(pem: &[u8]) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
    certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
}

fn is_key(pem: &[u8]) -> bool {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(mut key) => {
            key.zeroize();
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CERTIFICATE: &str =
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmg\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----\n";

    fn secret(data: Value) -> Secret {
        let object = json!({
            "metadata": {"name": "cert", "namespace": "edge"}, "type": TLS, "data": data,
        });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn encoded(text: &str) -> String {
        STANDARD.encode(text)
    }

    #[test]
    fn a_secret_is_a_certificate_if_it_holds_one_and_its_key_as_pem() {
        let [certificate, key] = [CERTIFICATE, KEY].map(encoded);
        let twice = encoded(&format!("{CERTIFICATE}{CERTIFICATE}"));
        let cases = [
            (
                json!({"tls.crt": certificate, "tls.key": key, "ca.crt": "!"}),
                Certificate::Usable,
            ),
            (
                json!({"tls.crt": twice, "tls.key": key}),
                Certificate::Usable,
            ),
            (json!({"tls.key": key}), Certificate::NoCertificate),
            (json!(null), Certificate::NoCertificate),
            (json!({"tls.crt": certificate}), Certificate::NoKey),
            (
                json!({"tls.crt": key, "tls.key": key}),
                Certificate::MalformedCertificate,
            ),
            (
                json!({"tls.crt": CERTIFICATE, "tls.key": key}),
                Certificate::MalformedCertificate,
            ),
            (
                json!({"tls.crt": "", "tls.key": key}),
                Certificate::MalformedCertificate,
            ),
            (
                json!({"tls.crt": certificate, "tls.key": encoded("Hello")}),
                Certificate::MalformedKey,
            ),
        ];
        for (data, expected) in cases {
            assert_eq!(secret(data.clone()).certificate(), expected, "{data}");
        }
    }

    #[test]
    fn what_is_written_as_text_counts_more_and_the_type_most() {
        let mut object = json!({
            "metadata": {"name": "cert"}, "type": TLS,
            "data": {"tls.crt": "", "tls.key": ""},
            "stringData": {"tls.crt": CERTIFICATE, "tls.key": KEY},
        });
        let read = |object: &Value| serde_json::from_value::<Secret>(object.clone()).unwrap();
        assert_eq!(read(&object).certificate(), Certificate::Usable);
        object["type"] = "Opaque".into();
        assert_eq!(read(&object).certificate(), Certificate::OtherType);
        object["type"] = Value::Null;
        assert_eq!(read(&object).certificate(), Certificate::OtherType);
    }

    #[test]
    fn nothing_of_what_it_holds_is_kept_or_shown() {
        let [certificate, key] = [CERTIFICATE, KEY].map(encoded);
        let shown = format!(
            "{:?}",
            secret(json!({"tls.crt": certificate, "tls.key": key, "x": "MIGHAgEAMBMG"}))
        );
        for held in ["MIIB", "MIGH", "BEGIN", "LS0t"] {
            assert!(!shown.contains(held), "{shown}");
        }
        for data in [json!(KEY), json!([KEY]), json!({"tls.key": [KEY]})] {
            let object = json!({"metadata": {"name": "cert"}, "data": data});
            let error = serde_json::from_value::<Secret>(object).unwrap_err();
            assert_eq!(
                error.to_string(),
                "what a Secret holds must be a map of texts"
            );
        }
    }
}
