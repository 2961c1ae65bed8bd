//! One connection, on which hyper speaks HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::connect::Stream;
use crate::{mapping::shortened, watcher::Failure};

/// A connection that says nothing for so long is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What an agent may send of one answer before we have read it, and of all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What is asked has no body.
type Body = Empty<Bytes>;

/// Runs hyper's tasks, which end with the agent that they belong to.
#[derive(Debug, Clone, Default)]
pub(super) struct Owned(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Owned {
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}

/// A connection for one request at a time. It is driven by whoever uses it.
pub(super) struct Single {
    sender: http1::SendRequest<Body>,
    connection: http1::Connection<TokioIo<Box<dyn Stream>>, Body>,
}

impl Single {
    pub(super) async fn new(stream: Box<dyn Stream>) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(64)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, connection })
    }

    /// Asks, and reads the whole answer. Says whether the connection can be used again.
    pub(super) async fn ask(
        &mut self,
        request: Request<Body>,
        bytes_max: usize,
    ) -> Result<(http::response::Parts, Bytes), Failure> {
        let Self { sender, connection } = self;
        let exchange = async {
            sender.ready().await.map_err(|error| cut(&error))?;
            let response = sender.send_request(request).await;
            whole(response.map_err(|error| cut(&error))?, bytes_max).await
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = connection => {
                if let Err(error) = ended {
                    return Err(cut(&error));
                }
                // What was received before the end may be a whole answer; nothing more will come.
                tokio::select! {
                    biased;
                    answer = &mut exchange => answer,
                    () = std::future::ready(()) => {
                        Err(Failure::Cut("the connection ended before the answer".to_owned()))
                    }
                }
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// A connection for many requests at once.
#[derive(Clone)]
pub(super) struct Shared {
    sender: http2::SendRequest<Body>,
    in_flight: Arc<AtomicUsize>,
}

/// A place on a shared connection.
pub(super) struct Place {
    sender: http2::SendRequest<Body>,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) async fn new(stream: Box<dyn Stream>, tasks: &Owned) -> hyper::Result<Self> {
        let (sender, connection) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(64 << 10)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .handshake(TokioIo::new(stream))
            .await?;
        let drive = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to Consul ended");
            }
        };
        hyper::rt::Executor::execute(tasks, drive);
        Ok(Self {
            sender,
            in_flight: Arc::default(),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// A place, where there is one.
    pub(super) fn place(&self, places: usize) -> Option<Place> {
        let taken = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            sender: self.sender.clone(),
            in_flight: self.in_flight.clone(),
        };
        (taken < places && self.is_open()).then_some(place)
    }
}

impl Place {
    /// Asks, and reads the whole answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<Body>,
        bytes_max: usize,
    ) -> Result<(http::response::Parts, Bytes), Failure> {
        self.sender.ready().await.map_err(|error| cut(&error))?;
        let response = self.sender.send_request(request).await;
        whole(response.map_err(|error| cut(&error))?, bytes_max).await
    }
}

async fn whole(
    response: Response<Incoming>,
    bytes_max: usize,
) -> Result<(http::response::Parts, Bytes), Failure> {
    let (parts, mut body) = response.into_parts();
    let too_large =
        || Failure::TooLarge(format!("the answer is larger than {} MiB", bytes_max >> 20));
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| cut(&error))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > bytes_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok((parts, bytes.freeze()))
}

/// With what caused it, which hyper does not say by itself.
fn cut(error: &hyper::Error) -> Failure {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    Failure::Cut(shortened(&message))
}
