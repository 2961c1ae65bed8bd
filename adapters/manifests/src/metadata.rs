//! What every object has: its metadata.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bowline_mesh::{Labels, Namespace, RegistrySettings};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    ManifestKind,
    report::{Field, Report},
};

/// The part of an object's metadata that means something here. The rest (`managedFields`, `uid`…) is book-keeping.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) namespace: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) labels: Labels,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) annotations: Annotations,
    pub(crate) creation_timestamp: Option<String>,
}

/// The annotations that mean something here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Annotations {
    #[serde(rename = "kubernetes.io/ingress.class")]
    pub(crate) ingress_class: Option<Arc<str>>,
    #[serde(rename = "ingressclass.kubernetes.io/is-default-class")]
    pub(crate) is_default_class: Option<Arc<str>>,
}

impl Metadata {
    /// When the object was made, in seconds since the epoch.
    pub(crate) fn created(&self, report: &mut Report<'_>) -> Option<i64> {
        let text = self.creation_timestamp.as_deref()?;
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => Some(time.unix_timestamp()),
            Err(error) => {
                report.invalid(
                    &Field::root("metadata").key("creationTimestamp"),
                    format!("'{}' is not a time: {error}", shortened(text)),
                    "write it as 2026-01-31T12:00:00Z, or leave it out",
                );
                None
            }
        }
    }
}

/// What tells an object from all others of its registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestName {
    /// What it is.
    pub kind: ManifestKind,
    /// Its namespace; `None` for kinds that stand outside of namespaces.
    pub namespace: Option<Namespace>,
    /// Its name within the namespace.
    pub name: Arc<str>,
}

impl ManifestName {
    /// The name of an object with this kind and metadata.
    ///
    /// # Errors
    /// When it has no name, or a name or namespace that Kubernetes would not accept.
    pub fn new(
        kind: ManifestKind,
        metadata: &Metadata,
        settings: &RegistrySettings,
    ) -> Result<Self, ManifestNameError> {
        let name = metadata.name.clone().ok_or(ManifestNameError::NoName)?;
        if !is_object_name(&name) {
            return Err(ManifestNameError::Name(shortened(&name)));
        }
        let namespace = match (kind.is_namespaced(), metadata.namespace.as_deref()) {
            (false, _) => None,
            (true, None | Some("")) => Some(settings.namespace.clone()),
            (true, Some(text)) => Some(text.parse()?),
        };
        Ok(Self {
            kind,
            namespace,
            name,
        })
    }
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Why an object has no usable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestNameError {
    /// `metadata.name` is missing; `generateName` means nothing outside of an API server.
    #[error("the object has no name")]
    NoName,
    /// `metadata.name` is not a DNS name.
    #[error(
        "'{0}' is not an object's name: it must have 1 to 253 lower-case letters, digits, '-' and '.'"
    )]
    Name(String),
    /// `metadata.namespace` is not a DNS label.
    #[error(transparent)]
    Namespace(#[from] bowline_mesh::NameError),
}

impl ManifestNameError {
    /// The field that is wrong.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::NoName | Self::Name(_) => "metadata.name",
            Self::Namespace(_) => "metadata.namespace",
        }
    }
}

fn is_object_name(text: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    let ends = |c: char| c == '-' || c == '.';
    (1..=253).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with(ends)
        && !text.ends_with(ends)
}

/// A field whose presence is all that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

/// It looks at everything. What is passed over as ignored would be taken for a field that is not known.
impl<'de> Visitor<'de> for Present {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<String, Self>()?.is_some() {}
        Ok(self)
    }
}

/// `null` means the same as an absent field, as it does for Kubernetes.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Which labels are meant (Kubernetes LabelSelector).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabelSelector {
    #[serde(default, deserialize_with = "null_is_default")]
    match_labels: BTreeMap<Arc<str>, Arc<str>>,
    #[serde(default, deserialize_with = "null_is_default")]
    match_expressions: Vec<LabelRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct LabelRequirement {
    key: Arc<str>,
    operator: LabelOperator,
    #[serde(default, deserialize_with = "null_is_default")]
    values: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// Whether it means an object with these labels. An empty selector means all.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        let Self {
            match_labels,
            match_expressions,
        } = self;
        let holds = |requirement: &LabelRequirement| {
            let LabelRequirement {
                key,
                operator,
                values,
            } = requirement;
            match (operator, labels.get(key)) {
                (LabelOperator::In, Some(value)) => values.contains(value),
                (LabelOperator::In, None) => false,
                (LabelOperator::NotIn, Some(value)) => !values.contains(value),
                (LabelOperator::NotIn, None) => true,
                (LabelOperator::Exists, value) => value.is_some(),
                (LabelOperator::DoesNotExist, value) => value.is_none(),
            }
        };
        match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && match_expressions.iter().all(holds)
    }
}

/// Texts from outside can be of any length and hold anything; messages are lines for people.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        match character {
            _ if count == CHARACTERS_MAX => {
                shown.push('…');
                break;
            }
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_means_what_kubernetes_means() {
        let labels: Labels = [("tier".into(), "gold".into())].into();
        let cases = [
            ("{}", true),
            (r#"{"matchLabels": {"tier": "gold"}}"#, true),
            (r#"{"matchLabels": {"tier": "gold", "x": "y"}}"#, false),
            (
                r#"{"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]}"#,
                false,
            ),
            (
                r#"{"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["gold"]}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions": [{"key": "x", "operator": "In", "values": ["gold"]}]}"#,
                false,
            ),
            (
                r#"{"matchExpressions": [{"key": "tier", "operator": "Exists"}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}"#,
                false,
            ),
        ];
        for (text, expected) in cases {
            let selector: LabelSelector = serde_json::from_str(text).unwrap();
            assert_eq!(selector.matches(&labels), expected, "{text}");
        }
    }
}
