//! Requests as bytes, with gRPC's framing.

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::kind::Kind;

/// The field with names: of both variants it is the same.
pub const NAMES: u32 = 3;

/// The part of gRPC's framing before a message.
pub const FRAME_HEAD: usize = 5;

/// A message to send, in parts of which some are shared with other proxies.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it asks for or acknowledges.
    pub kind: Kind,
    parts: [Bytes; 2],
}

/// What a request says. Not all of it is in both variants.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// What it asks for or acknowledges.
    pub kind: Kind,
    /// An encoded Node, in the first of a stream.
    pub node: Option<&'a [u8]>,
    /// The version that is acknowledged, in state of the world.
    pub version: &'a str,
    /// The nonce of the response that is acknowledged.
    pub nonce: &'a str,
    /// Names that are no longer of interest, in delta.
    pub unsubscribe: &'a [&'a str],
    /// What is held, by name with its version, in the first of a delta stream.
    pub held: &'a [(&'a str, &'a str)],
}

impl Request {
    /// A `DeltaDiscoveryRequest`; `names` are those to subscribe to, encoded.
    pub fn delta(content: &Content<'_>, names: Bytes) -> Self {
        let Content {
            kind,
            node,
            version: _,
            nonce,
            unsubscribe,
            held,
        } = content;
        let mut head = vec![0; FRAME_HEAD];
        if let Some(node) = node {
            write_text(1, node, &mut head);
        }
        write_text(2, kind.url().as_bytes(), &mut head);
        for name in *unsubscribe {
            write_text(4, name.as_bytes(), &mut head);
        }
        for (name, version) in *held {
            let len = text_len(1, name.len()) + text_len(2, version.len());
            encode_key(5, WireType::LengthDelimited, &mut head);
            encode_varint(len as u64, &mut head);
            write_text(1, name.as_bytes(), &mut head);
            write_text(2, version.as_bytes(), &mut head);
        }
        write_unless_empty(6, nonce, &mut head);
        Self::framed(*kind, head, names)
    }

    /// A `DiscoveryRequest`; `names` are all that are subscribed to, encoded.
    pub fn state_of_the_world(content: &Content<'_>, names: Bytes) -> Self {
        let Content {
            kind,
            node,
            version,
            nonce,
            unsubscribe: _,
            held: _,
        } = content;
        let mut head = vec![0; FRAME_HEAD];
        write_unless_empty(1, version, &mut head);
        if let Some(node) = node {
            write_text(2, node, &mut head);
        }
        write_text(4, kind.url().as_bytes(), &mut head);
        write_unless_empty(5, nonce, &mut head);
        Self::framed(*kind, head, names)
    }

    fn framed(kind: Kind, mut head: Vec<u8>, tail: Bytes) -> Self {
        let len = head.len() - FRAME_HEAD + tail.len();
        let len = u32::try_from(len).expect("a request is smaller than 4 GiB");
        if let Some(len_field) = head.get_mut(1..FRAME_HEAD) {
            len_field.copy_from_slice(&len.to_be_bytes());
        }
        Self {
            kind,
            parts: [head.into(), tail],
        }
    }

    /// How many bytes it is, with the framing.
    pub fn size(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Its parts, in order; none of them is empty.
    pub fn into_parts(self) -> impl Iterator<Item = Bytes> {
        self.parts.into_iter().filter(|part| !part.is_empty())
    }
}

/// Writes a field with text or bytes.
pub fn write_text(field: u32, bytes: &[u8], buffer: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.put_slice(bytes);
}

fn write_unless_empty(field: u32, text: &str, buffer: &mut Vec<u8>) {
    if !text.is_empty() {
        write_text(field, text.as_bytes(), buffer);
    }
}

fn text_len(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

#[cfg(test)]
mod tests {
    use bowline_proto::{
        Message,
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
        },
    };

    use super::*;

    fn names() -> Bytes {
        let mut names = Vec::new();
        write_text(NAMES, b"a", &mut names);
        write_text(NAMES, b"b", &mut names);
        names.into()
    }

    fn unframed(request: Request) -> Vec<u8> {
        let len = request.size();
        let bytes = request.into_parts().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), len);
        let (head, message) = bytes.split_at(FRAME_HEAD);
        assert_eq!(head[0], 0);
        assert_eq!(
            head[1..],
            (u32::try_from(message.len()).unwrap()).to_be_bytes()
        );
        message.to_vec()
    }

    #[test]
    fn requests_read_back_as_they_were_meant() {
        let node = Node {
            id: "sidecar".to_owned(),
            ..Node::default()
        };
        let encoded = node.encode_to_vec();
        let content = Content {
            kind: Kind::Endpoints,
            node: Some(&encoded),
            version: "v",
            nonce: "n",
            unsubscribe: &["gone"],
            held: &[("a", "1"), ("b", "2")],
        };
        let delta = unframed(Request::delta(&content, names()));
        let delta = DeltaDiscoveryRequest::decode(&delta[..]).unwrap();
        assert_eq!(delta.node.as_ref(), Some(&node));
        assert_eq!(delta.type_url, Kind::Endpoints.url());
        assert_eq!(delta.resource_names_subscribe, ["a", "b"]);
        assert_eq!(delta.resource_names_unsubscribe, ["gone"]);
        assert_eq!(delta.initial_resource_versions["b"], "2");
        assert_eq!(delta.initial_resource_versions.len(), 2);
        assert_eq!(delta.response_nonce, "n");

        let all = unframed(Request::state_of_the_world(&content, names()));
        let all = DiscoveryRequest::decode(&all[..]).unwrap();
        assert_eq!(all.node, Some(node));
        assert_eq!(all.type_url, Kind::Endpoints.url());
        assert_eq!(
            (all.version_info.as_str(), all.response_nonce.as_str()),
            ("v", "n")
        );
        assert_eq!(all.resource_names, ["a", "b"]);
    }
}
