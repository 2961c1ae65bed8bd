//! Retries: what makes a rolling restart cost no failed request.

use std::time::Duration;

use bowline_proto::{
    any, duration,
    envoy::{
        config::route::v3::{RetryPolicy, retry_policy},
        extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate,
    },
};

/// Two more tries where the request cannot have been acted on: no connection, the stream refused, the connection gone before the
/// request was sent (an endpoint that closes an idle connection in the same moment), or a gRPC status that means the same.
///
/// A 503 of the application is not among them, other than in Istio's older defaults: it may come after the work was done, and
/// trying again would do it twice.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,reset-before-request";

/// How often a try looks for an endpoint where none has failed; after that Envoy takes the last one, as it is.
///
/// Looking costs nothing. By least requests, one of two endpoints that refuses connections is found three times out of four, for it
/// never has a request open: five looks, as is common, sent 1 of 400 requests to it three times over.
const LOOKS: i64 = 32;

/// The policy of every virtual host of services, and of routes that limit the time of one try. A try never goes where one has failed, if there is any other endpoint.
pub(crate) fn outbound(per_try_timeout: Option<Duration>) -> RetryPolicy {
    RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: Some(2),
        per_try_timeout: per_try_timeout.map(duration),
        retry_host_predicate: vec![retry_policy::RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_policy::retry_host_predicate::ConfigType::TypedConfig(
                any(&PreviousHostsPredicate {}),
            )),
        }],
        host_selection_retry_max_attempts: LOOKS,
        ..RetryPolicy::default()
    }
}

/// The policy towards the workload itself: only a connection that the application had just closed is worth another try.
pub(crate) fn inbound() -> RetryPolicy {
    RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: Some(2),
        ..RetryPolicy::default()
    }
}
