//! Any message as JSON or YAML, with every [`Any`] inside of it opened.
//!
//! Fields have the names of Envoy's documentation (`snake_case`), and object keys are sorted, so that
//! equal messages print equally. A 64-bit integer is a number where every reader of JSON keeps it exact,
//! and text beyond, as in protobuf's own JSON. What Envoy marks as sensitive (private keys, passwords,
//! session ticket keys, generic secrets) is `[redacted]`, at any depth. Nothing that a peer sent makes
//! printing fail: what is unknown or broken is shown as what it is.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, SerializeOptions, Value};
use serde_json::{Map, Value as Json};

use crate::Any;
use crate::schema::Schema;

/// A message as JSON, without its secrets.
pub fn to_json(any: &Any) -> Json {
    Printer {
        secrets: Secrets::Redacted,
    }
    .any(any, Content::Open, 0)
}

/// A message as JSON, private keys and all: for the hands of whom it belongs to, never for a log.
pub fn to_json_with_secrets(any: &Any) -> Json {
    Printer {
        secrets: Secrets::Shown,
    }
    .any(any, Content::Open, 0)
}

/// A message as YAML, without its secrets.
///
/// # Errors
/// If the YAML writer refuses a value.
pub fn to_yaml(any: &Any) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&to_json(any))
}

struct Printer {
    secrets: Secrets,
}

enum Secrets {
    Redacted,
    Shown,
}

/// Whether what is being printed is part of a field marked as sensitive.
#[derive(Clone, Copy)]
enum Content {
    Open,
    Sensitive,
}

impl Printer {
    fn any(&self, any: &Any, content: Content, depth: usize) -> Json {
        let descriptor = Schema::shared().message(&any.type_url);
        let is_known = descriptor.is_some();
        let message = descriptor
            .filter(|_| depth < ANY_DEPTH_MAX)
            .and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.clone()).ok());
        let mut object = Map::from_iter([("@type".to_owned(), Json::from(any.type_url.as_str()))]);
        match message {
            Some(message) if has_json_of_its_own(message.descriptor().full_name()) => {
                object.insert("value".to_owned(), self.message(&message, content, depth));
            }
            Some(message) => object.extend(self.fields(&message, content, depth)),
            None => {
                // A known type that is not opened may hold a secret; of an unknown one nobody can tell.
                let content = if is_known {
                    Content::Sensitive
                } else {
                    content
                };
                object.insert("value".to_owned(), self.bytes(&any.value, content));
            }
        }
        Json::Object(object)
    }

    fn message(&self, message: &DynamicMessage, content: Content, depth: usize) -> Json {
        let depth = depth.saturating_add(1);
        match message.descriptor().full_name() {
            "google.protobuf.Any" => match message.transcode_to::<Any>() {
                Ok(any) => self.any(&any, content, depth),
                Err(_) => Json::Null,
            },
            "google.protobuf.Duration"
            | "google.protobuf.Timestamp"
            | "google.protobuf.FieldMask" => message
                .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
                // Out of range: there is no text form, so the numbers.
                .unwrap_or_else(|_| Json::Object(self.fields(message, content, depth))),
            name if has_json_of_its_own(name) => self.only_field(message, content, depth),
            _ => Json::Object(self.fields(message, content, depth)),
        }
    }

    /// A message that is written as its one field: the wrappers, and the parts of a `Struct`.
    fn only_field(&self, message: &DynamicMessage, content: Content, depth: usize) -> Json {
        let set = message
            .fields()
            .next()
            .map(|(field, value)| (field.kind(), value.clone()));
        let default = || {
            let field = message.descriptor().fields().next()?;
            Some((field.kind(), Value::default_value_for_field(&field)))
        };
        match set.or_else(default) {
            Some((kind, value)) => self.value(&kind, &value, content, depth),
            None => Json::Object(Map::new()),
        }
    }

    fn fields(
        &self,
        message: &DynamicMessage,
        content: Content,
        depth: usize,
    ) -> Map<String, Json> {
        let mut fields: Vec<_> = message
            .fields()
            .map(|(field, value)| {
                let content = match field.full_name() {
                    name if NAMES_OF_PLACES.contains(&name) => Content::Open,
                    name if Schema::shared().is_sensitive(name) => Content::Sensitive,
                    _ => content,
                };
                (
                    field.name().to_owned(),
                    self.value(&field.kind(), value, content, depth),
                )
            })
            .collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Map::from_iter(fields)
    }

    fn value(&self, kind: &Kind, value: &Value, content: Content, depth: usize) -> Json {
        match value {
            Value::Bool(value) => Json::from(*value),
            Value::I32(value) => Json::from(*value),
            Value::U32(value) => Json::from(*value),
            Value::I64(value) if value.unsigned_abs() <= EXACT_MAX => Json::from(*value),
            Value::I64(value) => Json::from(value.to_string()),
            Value::U64(value) if *value <= EXACT_MAX => Json::from(*value),
            Value::U64(value) => Json::from(value.to_string()),
            Value::F32(value) => float(value.to_string()),
            Value::F64(value) => float(value.to_string()),
            Value::String(value) => match self.shows(content) {
                true => Json::from(value.as_str()),
                false => Json::from(REDACTED),
            },
            Value::Bytes(value) => self.bytes(value, content),
            Value::EnumNumber(number) => enum_value(kind, *number),
            Value::Message(message) => self.message(message, content, depth),
            Value::List(values) => values
                .iter()
                .map(|value| self.value(kind, value, content, depth))
                .collect(),
            Value::Map(entries) => {
                let kind = match kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    other => other.clone(),
                };
                let mut entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (map_key(key), self.value(&kind, value, content, depth)))
                    .collect();
                entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                Json::Object(Map::from_iter(entries))
            }
        }
    }

    fn bytes(&self, value: &[u8], content: Content) -> Json {
        match self.shows(content) {
            true => Json::from(BASE64_STANDARD.encode(value)),
            false => Json::from(REDACTED),
        }
    }

    fn shows(&self, content: Content) -> bool {
        match (&self.secrets, content) {
            (Secrets::Shown, _) | (_, Content::Open) => true,
            (Secrets::Redacted, Content::Sensitive) => false,
        }
    }
}

/// The messages that protobuf's JSON does not write as an object of their fields.
fn has_json_of_its_own(full_name: &str) -> bool {
    matches!(
        full_name.strip_prefix("google.protobuf."),
        Some(
            "Any"
                | "BoolValue"
                | "BytesValue"
                | "DoubleValue"
                | "Duration"
                | "Empty"
                | "FieldMask"
                | "FloatValue"
                | "Int32Value"
                | "Int64Value"
                | "ListValue"
                | "StringValue"
                | "Struct"
                | "Timestamp"
                | "UInt32Value"
                | "UInt64Value"
                | "Value"
        )
    )
}

fn enum_value(kind: &Kind, number: i32) -> Json {
    match kind {
        Kind::Enum(descriptor) if descriptor.full_name() == "google.protobuf.NullValue" => {
            Json::Null
        }
        Kind::Enum(descriptor) => match descriptor.get_value(number) {
            Some(value) => Json::from(value.name()),
            None => Json::from(number),
        },
        _ => Json::from(number),
    }
}

/// A float from its shortest text: an `f32` widened to `f64` would print digits that it does not have.
fn float(shortest: String) -> Json {
    match shortest.parse() {
        Ok(Json::Number(number)) => Json::Number(number),
        // JSON has no number for these; protobuf's names differ from Rust's.
        _ => Json::from(match shortest.as_str() {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            _ => "NaN",
        }),
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

const REDACTED: &str = "[redacted]";

/// Where a secret is read from is not the secret.
const NAMES_OF_PLACES: &[&str] = &[
    "envoy.config.core.v3.DataSource.environment_variable",
    "envoy.config.core.v3.DataSource.filename",
    "envoy.config.core.v3.WatchedDirectory.path",
];

/// The largest integer that a reader with 64-bit floats (JavaScript, jq) keeps exact: 2^53 - 1.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// How many messages deep an `Any` is still opened. The decoder limits the depth of one message, but each
/// `Any` starts anew, and a peer could nest them until the stack ends.
const ANY_DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::envoy::config::core::v3::{
        DataSource, Node, TransportSocket, TypedExtensionConfig, data_source, transport_socket,
    };
    use crate::envoy::extensions::transport_sockets::tls::v3::{
        CommonTlsContext, GenericSecret, Secret, TlsCertificate, TlsSessionTicketKeys,
        UpstreamTlsContext, secret,
    };
    use crate::{any, duration, parse};

    fn inline(bytes: &str) -> DataSource {
        DataSource {
            specifier: Some(data_source::Specifier::InlineBytes(bytes.into())),
            ..DataSource::default()
        }
    }

    /// Parses `value` and prints it again.
    fn round_trip(type_name: &str, value: Json) -> Json {
        let type_url = format!("type.googleapis.com/{type_name}");
        let mut printed = to_json(&parse::from_json(&type_url, value).unwrap());
        assert_eq!(printed["@type"], type_url);
        printed.as_object_mut().unwrap().remove("@type");
        printed
    }

    #[test]
    fn a_cluster_with_protocol_options_survives_json() {
        let cluster = json!({
            "name": "outbound|80||payments.shop.svc.cluster.local",
            "type": "EDS",
            "connect_timeout": "1.500s",
            "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
            "per_connection_buffer_limit_bytes": 32768,
            "circuit_breakers": {"thresholds": [{"max_requests": 4294967295_u32}]},
            "metadata": {"filter_metadata": {"bowline": {
                "weight": 0.1, "port": 8080, "nothing": null, "list": ["a", true, {"b": 1}],
            }}},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 100}},
                },
            },
        });
        let printed = round_trip("envoy.config.cluster.v3.Cluster", cluster.clone());
        assert_eq!(printed, cluster);
    }

    #[test]
    fn numbers_stay_exact_for_every_reader() {
        let check = |type_name: &str, field: &str, value: Json, expected: Json| {
            let printed = round_trip(type_name, json!({ field: value }));
            assert_eq!(printed[field], expected);
        };
        let load = "envoy.config.endpoint.v3.UpstreamLocalityStats";
        check(
            load,
            "total_error_requests",
            json!(9_007_199_254_740_991_u64),
            json!(9_007_199_254_740_991_u64),
        );
        check(
            load,
            "total_error_requests",
            json!("9007199254740992"),
            json!("9007199254740992"),
        );
        check("envoy.type.v3.DoubleRange", "start", json!(0.1), json!(0.1));
        check(
            "envoy.type.v3.DoubleRange",
            "start",
            json!("-Infinity"),
            json!("-Infinity"),
        );
        check(
            "envoy.type.v3.DoubleRange",
            "start",
            json!("NaN"),
            json!("NaN"),
        );
    }

    #[test]
    fn a_float_prints_as_it_was_written() {
        let stats = crate::envoy::config::endpoint::v3::UnnamedEndpointLoadMetricStats {
            total_metric_value: 2.5,
            ..Default::default()
        };
        assert_eq!(to_json(&any(&stats))["total_metric_value"], json!(2.5));
        assert_eq!(float(0.1_f32.to_string()), json!(0.1));
    }

    #[test]
    fn messages_with_their_own_json_are_values_inside_of_an_any() {
        let timeout = any(&duration(std::time::Duration::from_millis(250)));
        assert_eq!(
            to_json(&timeout),
            json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "0.250s"})
        );
        assert_eq!(
            to_json(&any(&any(&true))),
            json!({"@type": "type.googleapis.com/google.protobuf.Any", "value": {
                "@type": "type.googleapis.com/google.protobuf.BoolValue", "value": true,
            }})
        );
        let endless = prost_types::Duration {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(
            to_json(&any(&endless))["value"]["seconds"],
            json!("9223372036854775807")
        );
    }

    #[test]
    fn what_is_unknown_prints_as_bytes() {
        let unknown = Any {
            type_url: "type.googleapis.com/example.Unknown".to_owned(),
            value: Bytes::from_static(b"\x00\x01"),
        };
        let expected = json!({"@type": "type.googleapis.com/example.Unknown", "value": "AAE="});
        assert_eq!(to_json(&unknown), expected);
        let holder = TypedExtensionConfig {
            name: "example".to_owned(),
            typed_config: Some(unknown),
        };
        assert_eq!(to_json(&any(&holder))["typed_config"], expected);
        for type_url in ["", "/", "envoy.config.core.v3.Node"] {
            let nameless = Any {
                type_url: type_url.to_owned(),
                value: Bytes::new(),
            };
            assert_eq!(to_json(&nameless), json!({"@type": type_url, "value": ""}));
        }
    }

    #[test]
    fn what_does_not_decode_prints_without_its_content() {
        let mut broken = any(&Node::default());
        broken.value = Bytes::from_static(b"\xff\xff");
        assert_eq!(to_json(&broken)["value"], REDACTED);
        assert_eq!(to_json_with_secrets(&broken)["value"], "//8=");
    }

    #[test]
    fn an_endless_nest_ends() {
        let mut nest = any(&Node::default());
        for _ in 0..10_000 {
            nest = any(&nest);
        }
        let mut printed = &to_json(&nest);
        while let Some(inner) = printed.get("value") {
            printed = inner;
        }
        assert_eq!(printed, REDACTED);
    }

    #[test]
    fn secrets_are_redacted_at_any_depth() {
        let certificate = TlsCertificate {
            certificate_chain: Some(inline("the chain")),
            private_key: Some(inline("hunter2")),
            password: Some(inline("hunter2")),
            ..TlsCertificate::default()
        };
        let socket = any(&TransportSocket {
            name: "tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any(
                &UpstreamTlsContext {
                    common_tls_context: Some(CommonTlsContext {
                        tls_certificates: vec![certificate],
                        ..CommonTlsContext::default()
                    }),
                    ..UpstreamTlsContext::default()
                },
            ))),
        });
        let certificate = "/typed_config/common_tls_context/tls_certificates/0";
        let printed = to_json(&socket);
        let printed = printed.pointer(certificate).unwrap();
        assert_eq!(
            printed,
            &json!({
                "certificate_chain": {"inline_bytes": "dGhlIGNoYWlu"},
                "password": {"inline_bytes": "[redacted]"},
                "private_key": {"inline_bytes": "[redacted]"},
            })
        );
        let shown = to_json_with_secrets(&socket);
        let shown = shown.pointer(certificate).unwrap();
        assert_eq!(shown["private_key"]["inline_bytes"], "aHVudGVyMg==");
    }

    #[test]
    fn every_kind_of_secret_is_redacted() {
        let check = |secret: secret::Type| {
            let printed = to_json(&any(&Secret {
                name: "a-secret".to_owned(),
                r#type: Some(secret),
            }));
            let text = printed.to_string();
            assert!(text.contains(REDACTED), "{text}");
            assert!(
                !text.contains("hunter2") && !text.contains("aHVudGVyMg=="),
                "{text}"
            );
        };
        let key = Some(inline("hunter2"));
        check(secret::Type::TlsCertificate(TlsCertificate {
            private_key: key.clone(),
            ..TlsCertificate::default()
        }));
        check(secret::Type::TlsCertificate(TlsCertificate {
            pkcs12: key.clone(),
            ..TlsCertificate::default()
        }));
        check(secret::Type::SessionTicketKeys(TlsSessionTicketKeys {
            keys: vec![inline("hunter2")],
        }));
        check(secret::Type::GenericSecret(GenericSecret {
            secret: key,
            secrets: [("one".to_owned(), inline("hunter2"))].into(),
        }));
    }

    #[test]
    fn where_a_secret_is_read_from_is_shown() {
        let certificate = TlsCertificate {
            private_key: Some(DataSource {
                specifier: Some(data_source::Specifier::Filename("/etc/key.pem".to_owned())),
                ..DataSource::default()
            }),
            ..TlsCertificate::default()
        };
        let printed = to_json(&any(&certificate));
        assert_eq!(printed["private_key"]["filename"], "/etc/key.pem");
    }

    #[test]
    fn yaml_reads_back_as_what_was_printed() {
        let node = any(&Node {
            id: "on".to_owned(),
            cluster: "1.10".to_owned(),
            user_agent_name: "a: 'b'\n#c\ttrue ".to_owned(),
            ..Node::default()
        });
        let yaml = to_yaml(&node).unwrap();
        assert_eq!(parse::from_yaml(&node.type_url, &yaml).unwrap(), node);
    }
}
