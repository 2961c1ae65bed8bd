//! Watching one kind of one cluster: list, watch, and begin again wherever that breaks.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use bowline_mesh::{Problem, RegistrySettings};
use kube::Client;
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    Item, ItemName, News, Trouble, Watched,
    access::{Clients, Newest},
    alike::Shared,
    api::{self, ApiError, Collection, From, WatchEvent, WatchLines},
};

/// How soon things are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After a first failure. Each further one doubles it.
    pub retry_min: Duration,
    /// After many failures.
    pub retry_max: Duration,
    /// Between looks for a kind that is not installed.
    pub absent: Duration,
    /// Between looks whether what is denied and can be done without has been granted.
    pub denied: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(15),
            absent: Duration::from_secs(5),
            denied: Duration::from_secs(60),
        }
    }
}

/// After a watch was taken up again, how long its first word may tell of another failure.
const QUIET: Duration = Duration::from_secs(1);
/// The first version of Kubernetes that says so if it has no streaming lists; earlier ones do something else instead.
const STREAMING_SINCE: (u32, u32) = (1, 27);
const VERSION_BYTES_MAX: usize = 64 * 1024;

/// Watches one kind.
#[derive(Debug)]
pub(crate) struct Watcher {
    watched: Watched,
    settings: Arc<RegistrySettings>,
    clients: Clients,
    news: mpsc::Sender<(Watched, News)>,
    pace: Pace,
    shared: Shared,
    /// The version of the API in which the kind was found.
    version: Option<&'static str>,
    /// Up to where everything is known.
    position: Option<String>,
    /// Whether the API server can list in a watch; `None` where nobody asked.
    streams: Option<bool>,
    /// Failures since it last went well.
    failures: u32,
    is_told_failing: bool,
}

/// Why a kind is not followed any more.
enum Stop {
    Failed(ApiError),
    /// There are other credentials, or another API server.
    OtherClient,
    /// The kind is not installed.
    Absent,
    /// Nobody listens any more.
    Unheard,
}

impl std::convert::From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl Watcher {
    pub(crate) fn new(
        watched: Watched,
        settings: Arc<RegistrySettings>,
        clients: Clients,
        news: mpsc::Sender<(Watched, News)>,
        pace: Pace,
    ) -> Self {
        Self {
            watched,
            settings,
            clients,
            news,
            pace,
            shared: Shared::default(),
            version: None,
            position: None,
            streams: None,
            failures: 0,
            is_told_failing: false,
        }
    }

    /// Watches until nobody listens any more.
    pub(crate) async fn run(mut self) {
        loop {
            let newest = self.clients.newest().await;
            let generation = newest.generation;
            let stop = match newest.client.clone() {
                Some(Ok(client)) => self.follow(&client, &newest).await,
                Some(Err(error)) => {
                    if self.tell_failing(error, Trouble::Away).await.is_err() {
                        return;
                    }
                    self.failures = self.failures.saturating_add(1);
                    self.pause_or_other(generation).await;
                    self.clients.renew(generation);
                    continue;
                }
                None => continue,
            };
            match stop {
                Stop::Unheard => return,
                // It may be another cluster altogether.
                Stop::OtherClient => {
                    self.position = None;
                    self.version = None;
                    self.streams = None;
                }
                Stop::Absent => {
                    tokio::select! {
                        () = sleep(self.pace.absent) => {}
                        () = self.clients.other_than(generation) => {}
                    }
                }
                // Nobody need be asked often for what many never grant. What happens meanwhile is not seen.
                Stop::Failed(ApiError::Denied(message)) if !self.watched.is_required() => {
                    self.position = None;
                    let text = format!("not permitted: {message} ({})", self.watched.grant());
                    let told = self.tell_failing(text, Trouble::NotPermitted).await;
                    if told.is_err() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(jittered(self.pace.denied)) => {}
                        () = self.clients.other_than(generation) => {}
                    }
                }
                Stop::Failed(ApiError::Expired) if self.position.take().is_some() => {
                    sleep(jittered(self.pace.retry_min)).await;
                }
                Stop::Failed(error) => {
                    if self.failed(error, generation).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn failed(&mut self, error: ApiError, generation: u64) -> Result<(), Stop> {
        tracing::debug!(registry = %self.settings.id, watched = %self.watched, %error, failures = self.failures, "watch failed");
        self.failures = self.failures.saturating_add(1);
        match &error {
            ApiError::Unauthorized(_) | ApiError::Unreachable(_) | ApiError::Garbled(_) => {
                self.clients.renew(generation);
            }
            ApiError::Expired
            | ApiError::Missing
            | ApiError::Denied(_)
            | ApiError::Refused { .. } => {}
        }
        // A connection may break, which is mended at once. What is denied stays denied.
        let is_for_long = self.failures > 1 || matches!(error, ApiError::Denied(_));
        if is_for_long {
            let text = match &error {
                ApiError::Unauthorized(_) | ApiError::Unreachable(_) => error.to_string(),
                ApiError::Denied(message) => {
                    format!("denied: {message} ({})", self.watched.grant())
                }
                ApiError::Expired
                | ApiError::Missing
                | ApiError::Refused { .. }
                | ApiError::Garbled(_) => format!("{}: {error}", self.watched),
            };
            let trouble = match &error {
                ApiError::Unauthorized(_) | ApiError::Denied(_) => Trouble::Denied,
                ApiError::Refused { code: 429, .. } => Trouble::Throttled,
                ApiError::Expired
                | ApiError::Missing
                | ApiError::Refused { .. }
                | ApiError::Unreachable(_)
                | ApiError::Garbled(_) => Trouble::Away,
            };
            self.tell_failing(text, trouble).await?;
        }
        self.pause_or_other(generation).await;
        Ok(())
    }

    /// Waits before the next attempt, but not once there is another client.
    async fn pause_or_other(&mut self, generation: u64) {
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = self.pace.retry_min.saturating_mul(1 << doublings);
        let pause = jittered(pause.min(self.pace.retry_max));
        tokio::select! {
            () = sleep(pause) => {}
            () = self.clients.other_than(generation) => {}
        }
    }

    /// Follows the kind for as long as that goes well.
    async fn follow(&mut self, client: &Client, newest: &Newest) -> Stop {
        let mut clients = self.clients.clone();
        tokio::select! {
            stop = self.follow_with(client) => match stop {
                Ok(never) => match never {},
                Err(stop) => stop,
            },
            () = clients.other_than(newest.generation) => Stop::OtherClient,
        }
    }

    async fn follow_with(&mut self, client: &Client) -> Result<std::convert::Infallible, Stop> {
        loop {
            let version = self.installed_version(client).await?;
            let collection = self.watched.collection(version);
            let lines = match self.position.clone() {
                None if self.streams(client).await? => {
                    match api::watch(client, &collection, From::Everything).await {
                        Ok(lines) => {
                            // Until one came to its end, pages are the surer way.
                            self.streams = Some(false);
                            self.initial(lines).await?
                        }
                        // The API server knows of streaming lists, but has them switched off.
                        Err(ApiError::Refused { .. }) => {
                            self.streams = Some(false);
                            continue;
                        }
                        Err(error) => return Err(self.missing_or(error)),
                    }
                }
                None => {
                    self.list(client, &collection).await?;
                    continue;
                }
                Some(position) => {
                    let lines = api::watch(client, &collection, From::Version(&position)).await;
                    lines.map_err(|error| self.missing_or(error))?
                }
            };
            self.changes(lines).await?;
        }
    }

    /// The version of the API in which the kind is installed.
    async fn installed_version(&mut self, client: &Client) -> Result<&'static str, Stop> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let versions = self.watched.versions();
        if self.watched.is_built_in() {
            let version = versions.first().copied().unwrap_or("v1");
            self.version = Some(version);
            return Ok(version);
        }
        for version in versions {
            let path = format!("{}?limit=1", self.watched.collection(version).path);
            match api::get(client, &path, usize::MAX).await {
                Ok(_) => {
                    self.version = Some(version);
                    return Ok(version);
                }
                Err(ApiError::Missing) => {}
                Err(error) => return Err(Stop::Failed(error)),
            }
        }
        // An API server that has just started may not know yet what is installed: it must say twice that something has gone.
        if self.position.take().is_none() {
            let news = News::Listed {
                items: Vec::new(),
                wrong: Vec::new(),
            };
            self.send(news).await?;
            self.went_well();
        }
        Err(Stop::Absent)
    }

    /// What is installed may be taken away.
    fn missing_or(&mut self, error: ApiError) -> Stop {
        if error == ApiError::Missing && !self.watched.is_built_in() {
            self.version = None;
        }
        Stop::Failed(error)
    }

    /// Whether the API server can list in a watch.
    async fn streams(&mut self, client: &Client) -> Result<bool, Stop> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(default)]
            major: String,
            #[serde(default)]
            minor: String,
        }
        if let Some(streams) = self.streams {
            return Ok(streams);
        }
        let number = |text: &str| {
            let digits = text.split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse::<u32>().ok())
        };
        let streams = match api::get(client, "/version", VERSION_BYTES_MAX).await {
            Ok(text) => serde_json::from_slice::<Version>(&text)
                .ok()
                .and_then(|version| number(&version.major).zip(number(&version.minor)))
                .is_some_and(|version| version >= STREAMING_SINCE),
            // Versions can be kept secret.
            Err(ApiError::Denied(_) | ApiError::Missing) => false,
            Err(error) => return Err(Stop::Failed(error)),
        };
        self.streams = Some(streams);
        Ok(streams)
    }

    /// Takes everything from a streaming list.
    async fn initial(&mut self, mut lines: WatchLines) -> Result<WatchLines, Stop> {
        let mut listed = Listed::default();
        loop {
            let Some(line) = lines.next().await? else {
                let message = "a streaming list ended before its end".to_owned();
                return Err(Stop::Failed(ApiError::Unreachable(message)));
            };
            match api::event(&line)? {
                WatchEvent::Put(object) => {
                    let shared = &mut self.shared;
                    listed.take(&self.watched, object.get(), &self.settings, shared);
                }
                WatchEvent::Gone(object) => {
                    if let Ok(name) = ItemName::read(&self.watched, object.get(), &self.settings) {
                        listed.items.retain(|item| item.name() != name);
                    }
                }
                WatchEvent::Bookmark {
                    version,
                    is_initial_end: true,
                } => {
                    self.position = Some(version.to_owned());
                    self.streams = Some(true);
                    self.send(listed.news()).await?;
                    self.went_well();
                    return Ok(lines);
                }
                WatchEvent::Bookmark { .. } => {}
            }
        }
    }

    /// Takes everything page by page.
    async fn list(&mut self, client: &Client, collection: &Collection) -> Result<(), Stop> {
        let mut listed = Listed::default();
        let taken = api::list(client, collection, |object| {
            listed.take(&self.watched, object, &self.settings, &mut self.shared);
        })
        .await;
        let version = taken.map_err(|error| self.missing_or(error))?;
        self.position = Some(version);
        self.streams = None;
        self.send(listed.news()).await?;
        self.went_well();
        Ok(())
    }

    /// Tells what changes, until the API server ends the watch.
    async fn changes(&mut self, mut lines: WatchLines) -> Result<(), Stop> {
        let begun = Instant::now();
        let mut has_said = false;
        loop {
            let line = if self.is_told_failing {
                match timeout(QUIET, lines.next()).await {
                    Ok(line) => line?,
                    Err(_) => {
                        self.send(News::Live).await?;
                        self.went_well();
                        continue;
                    }
                }
            } else {
                lines.next().await?
            };
            let Some(line) = line else {
                if !has_said && begun.elapsed() < QUIET {
                    let message = "a watch ended as soon as it began".to_owned();
                    return Err(Stop::Failed(ApiError::Unreachable(message)));
                }
                return Ok(());
            };
            has_said = true;
            let news = match api::event(&line)? {
                WatchEvent::Put(object) => {
                    self.position = Some(api::version(object)?.to_owned());
                    let shared = &mut self.shared;
                    match Item::read(&self.watched, object.get(), &self.settings, shared) {
                        Ok(item) => Some(News::Put(item)),
                        Err(problem) => Some(News::Wrong(*problem)),
                    }
                }
                WatchEvent::Gone(object) => {
                    self.position = Some(api::version(object)?.to_owned());
                    // What could not be taken need not be taken away.
                    let name = ItemName::read(&self.watched, object.get(), &self.settings);
                    name.ok().map(News::Gone)
                }
                WatchEvent::Bookmark { version, .. } => {
                    self.position = Some(version.to_owned());
                    None
                }
            };
            if self.is_told_failing {
                self.send(News::Live).await?;
            }
            self.went_well();
            if let Some(news) = news {
                self.send(news).await?;
            }
        }
    }

    fn went_well(&mut self) {
        self.failures = 0;
        self.is_told_failing = false;
    }

    async fn tell_failing(&mut self, error: String, trouble: Trouble) -> Result<(), Stop> {
        self.is_told_failing = true;
        self.send(News::Failing { error, trouble }).await
    }

    async fn send(&self, news: News) -> Result<(), Stop> {
        let sent = self.news.send((self.watched.clone(), news)).await;
        sent.map_err(|_| Stop::Unheard)
    }
}

/// What a list has so far.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    items: Vec<Item>,
    wrong: Vec<Problem>,
}

impl Listed {
    pub(crate) fn take(
        &mut self,
        watched: &Watched,
        json: &str,
        settings: &RegistrySettings,
        shared: &mut Shared,
    ) {
        match Item::read(watched, json, settings, shared) {
            Ok(item) => self.items.push(item),
            Err(problem) => self.wrong.push(*problem),
        }
    }

    pub(crate) fn news(self) -> News {
        News::Listed {
            items: self.items,
            wrong: self.wrong,
        }
    }
}

/// Half of a time to all of it: many clusters' watches that broke together do not come back together.
fn jittered(time: Duration) -> Duration {
    let random = std::hash::RandomState::new().hash_one(0_u8);
    let half = time / 2;
    let part = u32::try_from(random % 1024).unwrap_or(0);
    half + half * part / 1024
}
