//! A client that sends what it is told to and shows what comes back as text.

use bowline_proto::{
    Any, Message,
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::rpc,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

/// Responses as the client sees them, in both variants.
pub(crate) trait Answer: std::fmt::Debug + Sized + Send + 'static {
    type Request: Send + 'static;

    fn text(&self) -> String;
    fn nonce(&self) -> &str;
    /// Acknowledges this response, or rejects it with a reason; `names` are added to what is subscribed.
    fn reply(&self, names: &[&str], rejection: Option<&str>) -> Self::Request;
    fn first(short_name: &str, names: &[&str], node: Option<&str>) -> Self::Request;
}

/// One stream.
pub(crate) struct Stream<A: Answer> {
    requests: mpsc::Sender<A::Request>,
    responses: Streaming<A>,
}

pub(crate) async fn state_of_the_world(channel: Channel) -> Stream<DiscoveryResponse> {
    let (requests, receiver) = mpsc::channel(16);
    let responses = client(channel)
        .stream_aggregated_resources(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    Stream {
        requests,
        responses,
    }
}

pub(crate) async fn delta(channel: Channel) -> Stream<DeltaDiscoveryResponse> {
    let (requests, receiver) = mpsc::channel(16);
    let responses = client(channel)
        .delta_aggregated_resources(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    Stream {
        requests,
        responses,
    }
}

/// A delta stream of the endpoint service.
pub(crate) async fn delta_endpoints(channel: Channel) -> Stream<DeltaDiscoveryResponse> {
    let (requests, receiver) = mpsc::channel(16);
    let path = "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints";
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let responses = grpc
        .streaming(
            tonic::Request::new(ReceiverStream::new(receiver)),
            path.parse().unwrap(),
            tonic_prost::ProstCodec::default(),
        )
        .await
        .unwrap()
        .into_inner();
    Stream {
        requests,
        responses,
    }
}

fn client(channel: Channel) -> AggregatedDiscoveryServiceClient<Channel> {
    AggregatedDiscoveryServiceClient::new(channel)
}

impl<A: Answer> Stream<A> {
    pub(crate) async fn send(&self, request: A::Request) {
        self.requests.send(request).await.unwrap();
    }

    /// Opens a type; the first request of a stream has to name the node.
    pub(crate) async fn open(&self, short_name: &str, names: &[&str], node: Option<&str>) {
        self.send(A::first(short_name, names, node)).await;
    }

    /// The next response, which must read as given.
    pub(crate) async fn expect(&mut self, expected: &str) -> A {
        let response = self.responses.message().await.unwrap().unwrap();
        assert_eq!(response.text(), expected);
        response
    }

    /// The server ends the stream without having said anything more. Returns its reason.
    pub(crate) async fn end_with(mut self, code: Code) -> String {
        let status: Status = self.responses.message().await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        status.message().to_owned()
    }

    /// Says that nothing more will come, and waits until the server has agreed.
    pub(crate) async fn close(self) {
        let Self {
            requests,
            mut responses,
        } = self;
        drop(requests);
        assert!(responses.message().await.unwrap().is_none());
    }
}

impl Answer for DiscoveryResponse {
    type Request = DiscoveryRequest;

    fn text(&self) -> String {
        assert_eq!(
            self.control_plane.as_ref().unwrap().identifier,
            "bowline-test"
        );
        assert!(!self.version_info.is_empty() && !self.nonce.is_empty());
        let contents = self
            .resources
            .iter()
            .map(|any| content(any, &self.type_url));
        text(&self.type_url, contents)
    }

    fn nonce(&self) -> &str {
        &self.nonce
    }

    fn reply(&self, names: &[&str], rejection: Option<&str>) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: self.type_url.clone(),
            response_nonce: self.nonce.clone(),
            version_info: match rejection {
                Some(_) => String::new(),
                None => self.version_info.clone(),
            },
            resource_names: owned(names),
            error_detail: rejection.map(error),
            ..DiscoveryRequest::default()
        }
    }

    fn first(short_name: &str, names: &[&str], node: Option<&str>) -> DiscoveryRequest {
        DiscoveryRequest {
            node: node.map(named_node),
            type_url: type_url(short_name),
            resource_names: owned(names),
            ..DiscoveryRequest::default()
        }
    }
}

impl Answer for DeltaDiscoveryResponse {
    type Request = DeltaDiscoveryRequest;

    fn text(&self) -> String {
        assert_eq!(
            self.control_plane.as_ref().unwrap().identifier,
            "bowline-test"
        );
        assert!(!self.nonce.is_empty());
        let resources = self.resources.iter().map(|entry| {
            let content = content(entry.resource.as_ref().unwrap(), &self.type_url);
            format!("{}={content}", entry.name)
        });
        let removed = self.removed_resources.iter().map(|name| format!("-{name}"));
        text(&self.type_url, resources.chain(removed))
    }

    fn nonce(&self) -> &str {
        &self.nonce
    }

    fn reply(&self, names: &[&str], rejection: Option<&str>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: self.type_url.clone(),
            response_nonce: self.nonce.clone(),
            resource_names_subscribe: owned(names),
            error_detail: rejection.map(error),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn first(short_name: &str, names: &[&str], node: Option<&str>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: node.map(named_node),
            type_url: type_url(short_name),
            resource_names_subscribe: owned(names),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

fn text(type_url: &str, parts: impl Iterator<Item = String>) -> String {
    let short_name = type_url.rsplit('.').next().unwrap();
    let parts = parts.map(|part| format!(" {part}"));
    format!("{short_name}{}", parts.collect::<String>())
}

/// The inner type must be the outer one: Envoy rejects a response where it is not.
fn content(any: &Any, type_url: &str) -> String {
    assert_eq!(any.type_url, type_url);
    Node::decode(any.value.clone()).unwrap().id
}

fn type_url(short_name: &str) -> String {
    bowline_snapshot::ResourceType::ALL
        .iter()
        .find(|resource_type| resource_type.short_name() == short_name)
        .map_or_else(
            || short_name.to_owned(),
            |resource_type| resource_type.url().to_owned(),
        )
}

fn named_node(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        user_agent_name: "envoy".to_owned(),
        ..Node::default()
    }
}

fn error(message: &str) -> rpc::Status {
    rpc::Status {
        message: message.to_owned(),
        ..rpc::Status::default()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
