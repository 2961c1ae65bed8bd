//! Lists: all at once, or in pages of which every one shows the same moment.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    failure::Failure,
    kind::Kind,
    query::Query,
    selector::Selector,
    store::{Key, Place, Shape, Store},
};

/// What a page's token says: the moment, and where the next page begins.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// -1 means now.
    rv: i64,
    start: String,
}

/// What is listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) kind: &'a Kind,
    pub(super) version: &'a str,
    /// Empty for all.
    pub(super) namespace: &'a str,
    pub(super) shape: Shape,
}

impl Store {
    /// The body of a list.
    pub(super) fn list(&self, listed: Listed<'_>, query: &Query) -> Result<Bytes, Failure> {
        let selector = Selector::parse(
            listed.kind,
            query.get("labelSelector"),
            query.get("fieldSelector"),
        )?;
        let matching = query.get("resourceVersionMatch");
        let wanted = query.revision()?;
        if !matching.is_empty() && wanted.is_none() {
            let why = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
                       resourceVersion is provided";
            return Err(Failure::invalid("ListOptions.meta.k8s.io", "", why));
        }
        let now = self.revision();
        if wanted.unwrap_or(0) > now {
            return Err(Failure::too_large(wanted.unwrap_or(0), now));
        }
        // Whatever is old enough is answered from the cache, which has no pages.
        let limit = match wanted {
            Some(0) => 0,
            _ => query.number("limit")?.unwrap_or(0),
        };
        let (at, start) = match query.get("continue") {
            "" if matching == "Exact" => (wanted.unwrap_or(now), None),
            "" => (now, None),
            token => {
                let token = read_token(token)?;
                let at = u64::try_from(token.rv).unwrap_or(now);
                if at < self.compacted() {
                    return Err(Failure::expired_page(write_token(-1, token.start)));
                }
                (at, Some(token.start))
            }
        };
        if at < self.compacted() {
            return Err(Failure::expired(format!("too old resource version: {at}")));
        }
        let objects = self.objects_at(listed.kind, at);
        let place = |key: &Key| format!("{}/{}\0", key.namespace, key.name);
        let mut rest = objects
            .iter()
            .filter(|(key, _)| listed.namespace.is_empty() || key.namespace == listed.namespace)
            .filter(|(key, _)| start.as_ref().is_none_or(|start| place(key) > *start))
            .filter(|(_, object)| selector.selects(&object.labels, || object.value()));

        let mut items = Vec::new();
        let mut last = None;
        let mut count = 0;
        while limit == 0 || count < limit {
            let Some((key, object)) = rest.next() else {
                break;
            };
            if count > 0 {
                items.push(b',');
            }
            items.extend_from_slice(&object.show(
                listed.kind,
                listed.version,
                listed.shape,
                Place::InList,
            ));
            last = Some(key);
            count += 1;
        }
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), at.to_string().into());
        let remaining = rest.count();
        if let (Some(last), 1..) = (last, remaining) {
            let rv = i64::try_from(at).unwrap_or(-1);
            metadata.insert("continue".into(), write_token(rv, place(last)).into());
            if selector.is_empty() {
                metadata.insert("remainingItemCount".into(), remaining.into());
            }
        }
        Ok(body(listed, metadata, &items))
    }
}

fn body(listed: Listed<'_>, metadata: Map<String, Value>, items: &[u8]) -> Bytes {
    let (name, api_version) = match listed.shape {
        Shape::Whole => (
            format!("{}List", listed.kind.name),
            listed.kind.api_version(listed.version),
        ),
        Shape::Metadata => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        ),
    };
    let metadata = Value::Object(metadata);
    let head = format!(
        "{{\"kind\":\"{name}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
    );
    let mut body = Vec::with_capacity(head.len() + items.len() + 3);
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(items);
    body.extend_from_slice(b"]}\n");
    body.into()
}

fn write_token(rv: i64, start: String) -> String {
    let token = Token {
        v: "meta.k8s.io/v1".to_owned(),
        rv,
        start,
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn read_token(text: &str) -> Result<Token, Failure> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|token| serde_json::from_slice(&token).ok())
        .ok_or_else(|| Failure::bad_request("continue key is not valid"))
}
