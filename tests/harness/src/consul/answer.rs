//! Requests: blocking until there is something to say, and failing on demand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use parking_lot::Mutex;

use super::{
    datacenter::Servers,
    fault::{Fault, Faults},
    listener::Connections,
    query::Query,
    read::{Began, Step},
    reply::Reply,
    world::{ServiceQueries, World},
};

/// Consul waits up to this part of the wait longer, so that not all clients come back at once.
const JITTER_PART: u32 = 16;

/// A request that an agent has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulRequest {
    /// When it came.
    pub at: Instant,
    /// `GET` or `PUT`.
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// The protocol.
    pub version: Version,
    /// The token that it showed.
    pub token: Option<String>,
}

/// What an agent and its handle have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) servers: Arc<Servers>,
    pub(super) datacenter: String,
    service_queries: ServiceQueries,
    pub(super) faults: Mutex<Faults>,
    pub(super) requests: Mutex<Vec<ConsulRequest>>,
    /// The paths of requests that wait.
    pub(super) waiting: Mutex<Vec<String>>,
    pub(super) connections: Arc<Connections>,
    waits: AtomicU64,
}

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;

/// Ends a connection in the middle of things.
#[derive(Debug, thiserror::Error)]
#[error("the agent was told to break this connection")]
pub(super) struct Broken;

/// A request that waits, for as long as this value lives.
struct Waiting<'a> {
    shared: &'a Shared,
    path: String,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared, path: &str) -> Self {
        shared.waiting.lock().push(path.to_owned());
        Self {
            shared,
            path: path.to_owned(),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        if let Some(position) = waiting.iter().position(|path| *path == self.path) {
            waiting.swap_remove(position);
        }
    }
}

impl Shared {
    pub(super) fn new(
        servers: Arc<Servers>,
        datacenter: String,
        service_queries: ServiceQueries,
        connections_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            servers,
            datacenter,
            service_queries,
            faults: Mutex::default(),
            requests: Mutex::default(),
            waiting: Mutex::default(),
            connections: Connections::new(connections_max),
            waits: AtomicU64::new(0),
        })
    }

    /// Answers a request, when there is something to say.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Answer, Broken> {
        let mut answer = self.unsigned(request).await?;
        if answer.status() != StatusCode::NOT_FOUND {
            let policy = self.servers.look(|world| world.default_policy());
            let policy = HeaderValue::from_static(policy);
            answer
                .headers_mut()
                .insert("x-consul-default-acl-policy", policy);
        }
        Ok(answer)
    }

    async fn unsigned(&self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let query = match Query::read(&parts) {
            Ok(query) => query,
            Err(reason) => return Ok(whole(Reply::bad(reason))),
        };
        self.requests.lock().push(ConsulRequest {
            at: Instant::now(),
            method: parts.method.clone(),
            uri: parts.uri.to_string(),
            version: parts.version,
            token: query.token.clone(),
        });
        if parts.method == Method::GET {
            return self.read(&query).await;
        }
        let fault = self.faults.lock().take(&query.path);
        if let Some((status, text)) = fault.as_ref().and_then(Fault::answer) {
            return Ok(whole(Reply::plain(status, text)));
        }
        let write = |world: &mut World| world.write(&self.datacenter, &query, &parts.method, &body);
        let reply = self.servers.change(write);
        match fault {
            Some(fault) => faulty(fault, reply).await,
            None => Ok(whole(reply)),
        }
    }

    async fn read(&self, query: &Query) -> Result<Answer, Broken> {
        // Subscribed before the first look, so that no change in between is missed.
        let mut changes = self.servers.changes();
        let deadline = tokio::time::Instant::now() + self.jittered(query.wait);
        let mut began: Option<Began> = None;
        let mut waiting = None;
        loop {
            let fault = self.faults.lock().take(&query.path);
            if let Some((status, text)) = fault.as_ref().and_then(Fault::answer) {
                return Ok(whole(Reply::plain(status, text)));
            }
            let step = self.servers.look(|world| {
                let (own, how) = (&self.datacenter, self.service_queries);
                world.read(own, how, query, began.as_ref())
            });
            let waits = match (fault, step) {
                (Some(fault), step) => return faulty(fault, step.reply()).await,
                (None, Step::Answered(reply)) => return Ok(whole(reply)),
                (None, Step::Waiting(waits)) => waits,
            };
            waiting.get_or_insert_with(|| Waiting::new(self, &query.path));
            let change = tokio::time::timeout_at(deadline, changes.changed());
            if change.await.is_err() {
                return Ok(whole(waits.meanwhile));
            }
            began = Some(waits);
        }
    }

    /// The wait with up to a sixteenth more, different for each, the same in every run.
    fn jittered(&self, wait: Duration) -> Duration {
        const STEPS: u32 = 16;
        let turn = self.waits.fetch_add(7, Ordering::Relaxed) % u64::from(STEPS);
        let turn = u32::try_from(turn).unwrap_or_default();
        wait + wait / JITTER_PART * turn / STEPS
    }
}

fn whole(reply: Reply) -> Answer {
    let body = Full::new(reply.body.clone());
    respond(&reply, body.map_err(|never| match never {}).boxed_unsync())
}

async fn faulty(fault: Fault, mut reply: Reply) -> Result<Answer, Broken> {
    match fault {
        Fault::Cut => Err(Broken),
        Fault::Silent => std::future::pending().await,
        Fault::Partial => {
            let half = reply.body.slice(..reply.body.len() / 2);
            let frames = [Ok(Frame::data(half)), Err(Broken)];
            let body = StreamBody::new(tokio_stream::iter(frames));
            Ok(respond(&reply, body.boxed_unsync()))
        }
        Fault::Body(body) => {
            reply.body = Bytes::from(body);
            Ok(whole(reply))
        }
        Fault::Index(index) => {
            reply.headers.retain(|(name, _)| *name != "X-Consul-Index");
            reply.headers.push(("X-Consul-Index", index));
            Ok(whole(reply))
        }
        Fault::NoIndex => {
            reply.headers.retain(|(name, _)| *name != "X-Consul-Index");
            Ok(whole(reply))
        }
        Fault::NoLeader | Fault::NoPath | Fault::Throttled | Fault::Denied | Fault::Status(..) => {
            Ok(whole(reply))
        }
    }
}

fn respond(reply: &Reply, body: UnsyncBoxBody<Bytes, Broken>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    let kind = if reply.status.is_success() {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            headers.insert(name, value);
        }
    }
    response
}
