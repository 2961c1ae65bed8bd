//! One request: who may do what, and what comes of it. Nothing waits in here.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::{
    accept,
    discovery::Root,
    failure::Failure,
    fault::{Fault, Faults},
    json::{at, set},
    kind::{ACCESS_REVIEWS, Kind, SERVICES},
    list::Listed,
    query::Query,
    shared::{Asked, Credentials, Shared, State},
    store::{Key, Place, Shape, Store, Stored},
    target::Target,
    watch::{self, Watch},
    write::{Deleted, Part, Patch},
};

/// Who clients are, as refusals name them.
const USER: &str = "system:serviceaccount:bowline:bowline";

/// What a request is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Json(StatusCode, Bytes),
    Text(StatusCode, &'static str),
    Watch(Box<Watch>),
}

/// How a client has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// A certificate of our authority.
    Certificate,
    Nothing,
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        json_answer(failure.code, &failure.status())
    }
}

/// What a request asks for, as permissions and tests name it.
pub(super) fn asked(parts: &Parts) -> Asked {
    let header = |name| {
        let value = parts.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let path = parts
        .uri
        .path_and_query()
        .map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    let accept = header(header::ACCEPT);
    let Some(target) = Target::parse(parts.uri.path()) else {
        return Asked {
            verb: String::new(),
            resource: String::new(),
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            path,
            accept,
        };
    };
    let watched = Query::parse(parts.uri.query().unwrap_or_default()).is("watch");
    Asked {
        verb: verb(&parts.method, &target, watched).to_owned(),
        resource: target.resource(),
        namespace: target.namespace,
        name: target.name,
        subresource: target.subresource,
        path,
        accept,
    }
}

/// Answers a request.
pub(super) fn answer(
    shared: &Arc<Shared>,
    faults: &Faults,
    shown: Shown,
    parts: &Parts,
    body: &Bytes,
) -> Answer {
    if faults.has(&Fault::Overloaded) {
        return Failure::too_many_requests().into();
    }
    if faults.has(&Fault::Unavailable) {
        return Failure::unavailable().into();
    }
    let writes = !matches!(parts.method, Method::GET | Method::HEAD);
    let act = |state: &mut State| {
        if faults.has(&Fault::Unauthorized) || !admitted(&state.credentials, shown, parts) {
            return Err(Failure::unauthorized());
        }
        match Target::parse(parts.uri.path()) {
            Some(target) => Call::new(shared, state, faults, parts, target).answer(body),
            None => Ok(document(state, parts)),
        }
    };
    let result = if writes {
        shared.change(act)
    } else {
        act(&mut shared.state())
    };
    result.unwrap_or_else(Answer::from)
}

fn admitted(credentials: &Credentials, shown: Shown, parts: &Parts) -> bool {
    match credentials {
        Credentials::Everybody => true,
        Credentials::Certificate => shown == Shown::Certificate,
        Credentials::Token(token) => parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .is_some_and(|given| given == token),
    }
}

/// What is not about a resource: discovery, version, health.
fn document(state: &State, parts: &Parts) -> Answer {
    let store = &state.store;
    let accept = parts.headers.get(header::ACCEPT);
    let aggregated = accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("as=APIGroupDiscoveryList"))
        && state.minor >= 30;
    let path = parts.uri.path().trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts.as_slice() {
        ["api"] if aggregated => Some(store.aggregated(Root::Core)),
        ["apis"] if aggregated => Some(store.aggregated(Root::Groups)),
        ["api"] => Some(Store::core_versions()),
        ["apis"] => Some(store.groups()),
        ["api", version] => store.resources("", version),
        ["apis", group] => store.group(group),
        ["apis", group, version] => store.resources(group, version),
        ["version"] => Some(version(state.minor)),
        ["healthz" | "livez" | "readyz"] => return Answer::Text(StatusCode::OK, "ok"),
        _ => None,
    };
    match document {
        Some(document) => json_answer(StatusCode::OK, &document),
        None => nothing_there(),
    }
}

fn version(minor: u32) -> Value {
    json!({
        "major": "1",
        "minor": minor.to_string(),
        "gitVersion": format!("v1.{minor}.2"),
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-06-11T12:00:00Z",
        "goVersion": "go1.26.3",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

fn nothing_there() -> Answer {
    Answer::Text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    Answer::Json(status, format!("{value}\n").into())
}

fn verb(method: &Method, target: &Target, watched: bool) -> &'static str {
    match *method {
        Method::GET if target.name.is_empty() && watched => "watch",
        Method::GET if target.name.is_empty() => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if target.name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// A request about a resource.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    state: &'a mut State,
    faults: &'a Faults,
    parts: &'a Parts,
    target: Target,
    query: Query,
    shape: Shape,
}

impl<'a> Call<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        state: &'a mut State,
        faults: &'a Faults,
        parts: &'a Parts,
        target: Target,
    ) -> Self {
        Self {
            shared,
            state,
            faults,
            parts,
            target,
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            shape: Shape::Whole,
        }
    }

    fn answer(mut self, body: &Bytes) -> Result<Answer, Failure> {
        let target = &self.target;
        let found = self
            .state
            .store
            .kind_at(&target.group, &target.version, &target.plural);
        let Some(kind) = found else {
            return Ok(nothing_there());
        };
        let part = match target.subresource.as_str() {
            "" => Part::Main,
            "status" => Part::Status,
            _ => return Ok(nothing_there()),
        };
        let verb = verb(&self.parts.method, target, self.query.is("watch"));
        let place = (target.namespace.as_str(), target.name.as_str());
        if kind.resource != ACCESS_REVIEWS && !self.faults.allow(verb, place.0) {
            return Err(Failure::forbidden(USER, verb, &kind, place));
        }
        if !kind.verbs().contains(&verb) {
            return Err(Failure::method_not_allowed());
        }
        self.shape = accept::shape(self.parts, verb)?;
        let key = Key {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        };
        match verb {
            "watch" => self.watch(&kind),
            "list" => {
                let body = self.state.store.list(self.listed(&kind), &self.query)?;
                Ok(Answer::Json(StatusCode::OK, body))
            }
            "get" => {
                let found = self.state.store.object(&kind, &key);
                let object = found.ok_or_else(|| Failure::not_found(&kind, &key.name))?;
                Ok(self.object(StatusCode::OK, &kind, &object))
            }
            "create" => self.create(&kind, parse(body)?),
            "update" => {
                let object = self.state.store.update(&kind, &key, part, parse(body)?)?;
                Ok(self.object(StatusCode::OK, &kind, &object))
            }
            "patch" => {
                let content = self.parts.headers.get(header::CONTENT_TYPE);
                let content = content.and_then(|content| content.to_str().ok());
                let manager = self.query.get("fieldManager");
                let patch = Patch::parse(content.unwrap_or_default(), body, manager)?;
                let object = self.state.store.patch(&kind, &key, part, &patch)?;
                Ok(self.object(StatusCode::OK, &kind, &object))
            }
            "delete" => match self.state.store.delete(&kind, &key)? {
                Deleted::Going(object) => Ok(self.object(StatusCode::OK, &kind, &object)),
                Deleted::Gone(object) if matches!(kind.resource.as_str(), SERVICES | "pods") => {
                    Ok(self.object(StatusCode::OK, &kind, &object))
                }
                Deleted::Gone(object) => Ok(gone(&kind, &key, &object)),
            },
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn watch(&self, kind: &Arc<Kind>) -> Result<Answer, Failure> {
        match Watch::open(
            self.shared,
            self.state,
            kind,
            self.listed(kind),
            &self.query,
        ) {
            Ok(watch) => Ok(Answer::Watch(Box::new(watch))),
            // Where the revision is gone or not there yet, the stream begins and says so.
            Err(failure)
                if matches!(failure.code, StatusCode::GONE | StatusCode::GATEWAY_TIMEOUT)
                    && !self.faults.has(&Fault::GoneAsStatus) =>
            {
                Ok(Answer::Json(StatusCode::OK, watch::error(&failure)))
            }
            Err(failure) => Err(failure),
        }
    }

    fn create(&mut self, kind: &Kind, value: Value) -> Result<Answer, Failure> {
        if kind.resource == ACCESS_REVIEWS {
            return Ok(self.review(value));
        }
        let namespace = self.target.namespace.clone();
        let object = self.state.store.create(kind, &namespace, value)?;
        Ok(self.object(StatusCode::CREATED, kind, &object))
    }

    /// Whether the client could do something.
    fn review(&self, mut review: Value) -> Answer {
        let attribute = |name: &str| {
            let attributes = review.pointer("/spec/resourceAttributes");
            attributes
                .and_then(|attributes| attributes.get(name)?.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let resource = match (attribute("resource"), attribute("group")) {
            (plural, group) if group.is_empty() => plural,
            (plural, group) => format!("{plural}.{group}"),
        };
        let allowed = self
            .state
            .faults_for(&resource)
            .allow(&attribute("verb"), &attribute("namespace"));
        set(&mut review, &["kind"], "SelfSubjectAccessReview");
        set(&mut review, &["apiVersion"], "authorization.k8s.io/v1");
        let status = match allowed {
            true => {
                json!({"allowed": true, "reason": "RBAC: allowed by ClusterRoleBinding \"bowline\""})
            }
            false => json!({"allowed": false}),
        };
        set(&mut review, &["status"], status);
        json_answer(StatusCode::CREATED, &review)
    }

    fn object(&self, status: StatusCode, kind: &Kind, object: &Stored) -> Answer {
        let shown = object.show(kind, &self.target.version, self.shape, Place::Alone);
        Answer::Json(status, shown)
    }

    fn listed<'b>(&'b self, kind: &'b Kind) -> Listed<'b> {
        Listed {
            kind,
            version: &self.target.version,
            namespace: &self.target.namespace,
            shape: self.shape,
        }
    }
}

fn gone(kind: &Kind, key: &Key, object: &Stored) -> Answer {
    let mut details = json!({
        "name": key.name,
        "kind": kind.plural,
        "uid": at(&object.value(), "/metadata/uid"),
    });
    if !kind.group.is_empty() {
        set(&mut details, &["group"], kind.group.clone());
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    });
    json_answer(StatusCode::OK, &status)
}

fn parse(body: &Bytes) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body is no JSON: {error}")))?;
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(Failure::bad_request("the body is no object")),
    }
}
