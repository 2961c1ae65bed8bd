//! Protobuf messages field by field, without decoding them: a fleet reads a message for what it needs, thousands of times a second.

use anyhow::{Context, Result, bail};

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number of any kind that is encoded as a varint.
    Number(u32, u64),
    /// A text, bytes, or a message.
    Bytes(u32, &'a [u8]),
}

/// The fields of an encoded message, in their order. Fields of fixed width are passed over.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads a message.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .context("a message is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take(1)? else {
                bail!("a message is cut off");
            };
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        bail!("a number of a message has no end")
    }

    fn field(&mut self) -> Result<Option<Field<'a>>> {
        while !self.rest.is_empty() {
            let key = self.varint()?;
            let number = u32::try_from(key >> 3).context("a field has no possible number")?;
            match key & 7 {
                0 => return Ok(Some(Field::Number(number, self.varint()?))),
                1 => drop(self.take(8)?),
                2 => {
                    let len = usize::try_from(self.varint()?).context("a field is too long")?;
                    return Ok(Some(Field::Bytes(number, self.take(len)?)));
                }
                5 => drop(self.take(4)?),
                other => bail!("a field has the unknown wire type {other}"),
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field().transpose();
        if let Some(Err(_)) = field {
            self.rest = &[];
        }
        field
    }
}

/// The last field with a number whose content is bytes; nothing where there is none.
///
/// # Errors
/// When the message cannot be read.
pub fn bytes_of(message: &[u8], wanted: u32) -> Result<&[u8]> {
    let mut found: &[u8] = &[];
    for field in Fields::of(message) {
        if let Field::Bytes(number, bytes) = field?
            && number == wanted
        {
            found = bytes;
        }
    }
    Ok(found)
}

/// Calls `visit` with the content of every field that a path of field numbers leads to.
///
/// # Errors
/// When a message on the way cannot be read, and what `visit` fails with.
pub fn descend<'a>(
    message: &'a [u8],
    path: &[u32],
    visit: &mut dyn FnMut(&'a [u8]) -> Result<()>,
) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        return visit(message);
    };
    for field in Fields::of(message) {
        if let Field::Bytes(number, bytes) = field?
            && number == *first
        {
            descend(bytes, rest, visit)?;
        }
    }
    Ok(())
}

/// Bytes that have to be text.
///
/// # Errors
/// When they are none.
pub fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).context("a text of a message is not UTF-8")
}

#[cfg(test)]
mod tests {
    use bowline_proto::{Message, envoy::service::discovery::v3::DiscoveryResponse};

    use super::*;

    fn message() -> Vec<u8> {
        DiscoveryResponse {
            version_info: "seven".to_owned(),
            canary: true,
            nonce: "n".to_owned(),
            ..DiscoveryResponse::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn fields_are_read_as_they_were_written() {
        let fields: Vec<_> = Fields::of(&message())
            .map(Result::unwrap)
            .map(|field| format!("{field:?}"))
            .collect();
        assert_eq!(
            fields,
            [
                format!("{:?}", Field::Bytes(1, b"seven")),
                format!("{:?}", Field::Number(3, 1)),
                format!("{:?}", Field::Bytes(5, b"n")),
            ]
        );
        assert_eq!(bytes_of(&message(), 5).unwrap(), b"n");
        assert_eq!(bytes_of(&message(), 4).unwrap(), b"");
    }

    #[test]
    fn what_is_no_message_is_an_error_and_ends() {
        let whole = message();
        for len in 1..whole.len() {
            // Cut between two fields it is a message with fewer of them.
            let fields: Vec<_> = Fields::of(&whole[..len]).collect();
            assert!(fields.len() <= 3);
        }
        let cut = &whole[..3];
        assert!(Fields::of(cut).any(|field| field.is_err()));
        for garbage in [
            &[0xff; 12][..],
            &[0x0b],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(
                Fields::of(garbage).any(|field| field.is_err()),
                "{garbage:?}"
            );
            assert!(bytes_of(garbage, 1).is_err());
        }
    }

    #[test]
    fn a_path_leads_to_every_field_that_it_fits() {
        let inner = [&[0x12, 1, b'a'][..], &[0x12, 1, b'b']].concat();
        let outer = [&[0x0a, 6][..], &inner, &[0x0a, 3, 0x12, 1, b'c']].concat();
        let mut found = Vec::new();
        descend(&outer, &[1, 2], &mut |bytes| {
            found.push(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [b"a", b"b", b"c"]);
    }
}
