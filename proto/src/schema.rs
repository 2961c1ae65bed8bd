//! The descriptors of all messages, ready for reflection.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::FILE_DESCRIPTOR_SET;

pub(crate) struct Schema {
    pool: DescriptorPool,
    sensitive: BTreeSet<String>,
}

impl Schema {
    /// Built at the first use and then kept: it is a function of a constant, takes milliseconds to
    /// build, and every message that is printed or parsed needs it.
    pub(crate) fn shared() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(Self::new)
    }

    fn new() -> Self {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)
            .expect("build.rs writes descriptors that refer only to each other");
        let sensitive = sensitive_fields(&pool);
        Self { pool, sensitive }
    }

    /// The message that a type URL names. The domain before the last slash is free to choose.
    pub(crate) fn message(&self, type_url: &str) -> Option<MessageDescriptor> {
        let (_, name) = type_url.rsplit_once('/')?;
        self.pool.get_message_by_name(name)
    }

    /// Whether Envoy marks a field, by its full name, as one whose content is not to be shown.
    pub(crate) fn is_sensitive(&self, field: &str) -> bool {
        self.sensitive.contains(field)
    }
}

/// The fields with the option `(udpa.annotations.sensitive)`, the one by which Envoy redacts its own
/// config dump.
fn sensitive_fields(pool: &DescriptorPool) -> BTreeSet<String> {
    let sensitive = pool
        .get_extension_by_name("udpa.annotations.sensitive")
        .expect("Envoy's files import udpa/annotations/sensitive.proto");
    let is_marked =
        |options: DynamicMessage| options.get_extension(&sensitive).as_bool() == Some(true);
    pool.all_messages()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| is_marked(field.options()))
        .map(|field| field.full_name().to_owned())
        .collect()
}
