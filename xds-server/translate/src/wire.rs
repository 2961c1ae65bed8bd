//! Protobuf by hand, for messages that are put together from parts encoded by themselves.

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// A field that holds an encoded message.
pub(crate) fn field(number: u32, message: &[&[u8]]) -> Bytes {
    let len = message.iter().map(|part| part.len()).sum();
    let mut buffer = Vec::with_capacity(field_len(number, len));
    open_field(number, len, &mut buffer);
    message.iter().for_each(|part| buffer.put_slice(part));
    buffer.into()
}

/// The beginning of a field whose content, of this length, follows.
pub(crate) fn open_field(number: u32, len: usize, buffer: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, buffer);
    encode_varint(len as u64, buffer);
}

/// How long a field with content of this length is.
pub(crate) fn field_len(number: u32, len: usize) -> usize {
    key_len(number) + encoded_len_varint(len as u64) + len
}
