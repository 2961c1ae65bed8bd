//! Consul's names as DNS labels, and back.
//!
//! Consul looks names up without regard to case, so they are lower-cased. What a DNS label cannot have is written as `_` and two
//! hexadecimal digits: `cart.v2` is `cart_2ev2`. A `_` stands for itself where it cannot be mistaken for the beginning of such.

/// The longest label that DNS has.
const LABEL_BYTES_MAX: usize = 63;

/// A name as a DNS label; `None` where it is empty or would be too long.
pub(crate) fn label(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let bytes = name.as_bytes();
    let mut label = String::with_capacity(bytes.len());
    for (place, byte) in bytes.iter().enumerate() {
        let is_edge = place == 0 || place + 1 == bytes.len();
        let stays = match byte {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'-' => !is_edge,
            b'_' => !begins_escape(bytes.get(place + 1..).unwrap_or_default()),
            _ => false,
        };
        match stays {
            true => label.push(char::from(*byte)),
            false => label.push_str(&format!("_{byte:02x}")),
        }
    }
    (!label.is_empty() && label.len() <= LABEL_BYTES_MAX).then_some(label)
}

/// The name that a label stands for, in lower case; `None` where it is nobody's label.
pub(crate) fn name(label: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [high, low, after @ ..] if *first == b'_' && begins_escape(tail) => {
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn begins_escape(after: &[u8]) -> bool {
    matches!(after, [high, low, ..] if digit(*high).is_some() && digit(*low).is_some())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bowline_mesh::Hostname;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_dns_allows_stay_as_they_are_and_others_are_escaped() {
        let cases = [
            ("cart", "cart"),
            ("c", "c"),
            ("Cart", "cart"),
            ("cart-v2", "cart-v2"),
            ("cart_v2", "cart_v2"),
            ("cart_", "cart_"),
            ("a_bc", "a_5fbc"),
            ("cart.v2", "cart_2ev2"),
            ("a b/c", "a_20b_2fc"),
            ("-a-", "_2da_2d"),
            ("ä", "_c3_a4"),
            ("_.", "__2e"),
        ];
        for (name_, expected) in cases {
            assert_eq!(label(name_).as_deref(), Some(expected), "{name_}");
            assert_eq!(name(expected).unwrap(), name_.to_lowercase(), "{name_}");
        }
        assert_eq!(label(""), None);
        assert_eq!(label(&"a".repeat(64)), None);
        assert_eq!(label(&".".repeat(22)), None);
    }

    proptest! {
        #[test]
        fn every_label_is_a_hostname_and_leads_back(text in "\\PC{1,12}|[a-f0-9_.-]{1,12}") {
            if let Some(label) = label(&text) {
                prop_assert!(format!("{label}.example").parse::<Hostname>().is_ok(), "{label}");
                prop_assert_eq!(name(&label).unwrap(), text.to_lowercase());
            }
        }
    }
}
