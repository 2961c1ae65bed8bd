//! The client status discovery service: what every connected client has of the configuration that is meant for it.
//!
//! It shows the configuration of all proxies, so it answers operators only: clients that proved an identity that is named as an
//! operator's, and clients on loopback where plaintext is served. A question is put to the streams themselves, at the moment when it
//! is asked. One that does not answer, because its client does not read, is listed without resources.

mod matcher;

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};

use bowline_identity::SpiffeId;
use bowline_proto::{
    Any,
    envoy::{
        admin::v3::{ClientResourceStatus, UpdateFailureState},
        config::core::v3::Node,
        service::status::v3::{
            ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
            client_config::GenericXdsConfig,
            client_status_discovery_service_server::{
                ClientStatusDiscoveryService as Service, ClientStatusDiscoveryServiceServer,
            },
        },
    },
};
use bowline_snapshot::ResourceType;
use futures_util::{Stream, future::join_all, stream::unfold};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use self::matcher::Matchers;
use crate::{
    fleet::{Fleet, ProxyStatus, TypeStatus},
    service::Retiring,
    session::{ResourceView, Standing, StreamView, TypeView},
    source::Peer,
};

/// Tells operators what clients have.
pub struct ClientStatusService(Arc<Server>);

struct Server {
    fleet: Fleet,
    operators: BTreeSet<SpiffeId>,
    shutdown: CancellationToken,
}

impl ClientStatusService {
    /// A service for these operators. Whoever accepts connections has to put a [`Peer`] into the extensions of each request.
    /// Cancelling `shutdown` ends all streams with `UNAVAILABLE`.
    pub fn server(
        fleet: Fleet,
        operators: BTreeSet<SpiffeId>,
        shutdown: CancellationToken,
    ) -> ClientStatusDiscoveryServiceServer<Self> {
        let server = Server {
            fleet,
            operators,
            shutdown,
        };
        ClientStatusDiscoveryServiceServer::new(Self(Arc::new(server)))
    }
}

#[tonic::async_trait]
impl Service for ClientStatusService {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        self.0.admit(request.extensions().get::<Peer>())?;
        let retiring = Retiring::of(request.extensions());
        let state = Some((self.0.clone(), retiring, request.into_inner()));
        let answers = unfold(state, |state| async move {
            let (server, retiring, mut requests) = state?;
            let request = tokio::select! {
                () = server.shutdown.cancelled() => {
                    let status = Status::unavailable("the server is shutting down");
                    return Some((Err(status), None));
                }
                () = retiring.cancelled() => return None,
                request = requests.message() => request,
            };
            let Ok(Some(request)) = request else {
                return None;
            };
            match server.answer(request).await {
                Ok(answer) => Some((Ok(answer), Some((server, retiring, requests)))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        self.0.admit(request.extensions().get::<Peer>())?;
        let answer = self.0.answer(request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

impl Server {
    fn admit(&self, peer: Option<&Peer>) -> Result<(), Status> {
        let Some(Peer { address, identity }) = peer else {
            return Err(Status::internal(
                "the listener does not say who the peer is",
            ));
        };
        let is_operator = match identity {
            Some(proven) => self.operators.contains(proven.spiffe_id()),
            None => address.ip().is_loopback(),
        };
        match (is_operator, identity) {
            (true, _) => Ok(()),
            (false, Some(proven)) => Err(Status::permission_denied(format!(
                "{} is not an operator: `xds.operators` of the configuration names those that may ask",
                proven.spiffe_id()
            ))),
            (false, None) => Err(Status::permission_denied(
                "in plaintext only clients on loopback may ask; over mutual TLS those that `xds.operators` of the configuration names",
            )),
        }
    }

    async fn answer(&self, request: ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
        let ClientStatusRequest {
            node_matchers,
            node: _,
            exclude_resource_contents,
        } = request;
        let matchers = Matchers::new(&node_matchers).map_err(Status::invalid_argument)?;
        let contents = match exclude_resource_contents {
            true => Contents::AreLeftOut,
            false => Contents::AreShown,
        };
        let mut clients = self.fleet.clients();
        clients.retain(|client| matchers.matches(client.id()));
        clients.sort_by(|one, other| one.id().cmp(other.id()));
        let mut answer = ClientStatusResponse { config: Vec::new() };
        let mut bytes = 0;
        for some in clients.chunks(ASKED_AT_ONCE) {
            let views = some.iter().map(|client| async {
                let view = tokio::time::timeout(ANSWER_MAX, client.view()).await;
                (client.status(), view.ok().flatten())
            });
            for (status, view) in join_all(views).await {
                let config = client_config(&status, view.as_ref(), contents);
                bytes += prost::Message::encoded_len(&config);
                if bytes > ANSWER_BYTES_MAX {
                    return Err(Status::resource_exhausted(format!(
                        "the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for fewer clients with `node_matchers`, or with `exclude_resource_contents`"
                    )));
                }
                answer.config.push(config);
            }
        }
        Ok(answer)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    AreShown,
    AreLeftOut,
}

fn client_config(
    status: &ProxyStatus,
    view: Option<&StreamView>,
    contents: Contents,
) -> ClientConfig {
    let types = view.map(|StreamView(types)| &**types).unwrap_or_default();
    let generic_xds_configs = types.iter().flat_map(
        |TypeView {
             resource_type,
             resources,
         }| {
            let of_type = status
                .types
                .get(resource_type.short_name())
                .map(|of_type| &**of_type);
            resources
                .iter()
                .map(move |resource| generic(*resource_type, resource, of_type, contents))
        },
    );
    ClientConfig {
        node: Some(Node {
            id: status.id.to_string(),
            cluster: status.cluster.clone(),
            user_agent_name: status.user_agent.clone(),
            ..Node::default()
        }),
        generic_xds_configs: generic_xds_configs.collect(),
        ..ClientConfig::default()
    }
}

fn generic(
    resource_type: ResourceType,
    view: &ResourceView,
    of_type: Option<&TypeStatus>,
    contents: Contents,
) -> GenericXdsConfig {
    let ResourceView {
        name,
        resource,
        standing,
    } = view;
    // A secret's content is shown to nobody, its name and version are.
    let is_shown = contents == Contents::AreShown && resource_type != ResourceType::SECRET;
    let content = resource
        .as_ref()
        .filter(|_| is_shown)
        .map(|(resource, _)| Any {
            type_url: resource_type.url().to_owned(),
            value: resource.body().to_bytes(),
        });
    let version = resource
        .as_ref()
        .map(|(_, version)| version.to_string())
        .unwrap_or_default();
    let rejected = of_type
        .filter(|_| *standing == Standing::Rejected)
        .and_then(|of_type| of_type.rejected.as_ref());
    let (config_status, client_status) = match standing {
        Standing::NotSent => (ConfigStatus::NotSent, ClientResourceStatus::Requested),
        Standing::Sent => (ConfigStatus::Stale, ClientResourceStatus::Requested),
        Standing::Answered => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        Standing::Rejected => (ConfigStatus::Error, ClientResourceStatus::Nacked),
        Standing::Missing => (ConfigStatus::Synced, ClientResourceStatus::DoesNotExist),
    };
    GenericXdsConfig {
        type_url: resource_type.url().to_owned(),
        name: name.to_string(),
        version_info: version.clone(),
        error_state: rejected.map(|rejected| UpdateFailureState {
            failed_configuration: content.clone(),
            last_update_attempt: Some(timestamp(rejected.at)),
            details: rejected.message.clone(),
            version_info: version,
        }),
        xds_config: content,
        last_updated: of_type
            .and_then(|of_type| of_type.sent.as_ref())
            .map(|sent| timestamp(sent.at)),
        config_status: config_status.into(),
        client_status: client_status.into(),
        is_static_resource: false,
    }
}

fn timestamp(at: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.unix_timestamp(),
        nanos: i32::try_from(at.nanosecond()).unwrap_or(0),
    }
}

const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A stream answers as soon as it is polled; one whose client takes nothing is not.
const ANSWER_MAX: Duration = Duration::from_secs(1);
const ASKED_AT_ONCE: usize = 256;
