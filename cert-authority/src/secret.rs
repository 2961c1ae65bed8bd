//! Private keys that do not end up in a log.

use std::fmt;

use rcgen::KeyPair;
use zeroize::{Zeroize, Zeroizing};

/// A private key as PEM (PKCS #8). Prints as `[redacted]` and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// The key itself: for the file, the store or the TLS library that needs it, and nothing else.
    pub fn expose_pem(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(key: &KeyPair) -> Self {
        Self(Zeroizing::new(key.serialize_pem()))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A key that signs, wiped from memory when dropped.
pub(crate) struct SigningKey(pub(crate) KeyPair);

impl rcgen::PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
