//! Names of resources: the ones that dashboards and people know from Istio.

use std::net::IpAddr;

use bowline_mesh::Hostname;

/// Sends a connection where it wanted to go.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";
/// Sends a request to the host that it names.
pub const HOST_PASSTHROUGH_CLUSTER: &str = "HostPassthroughCluster";
/// Has no endpoints: closes connections, refuses requests.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";
/// Sends a connection that came to the workload on to the port that it came to, whatever listens there.
pub const INBOUND_PASSTHROUGH_CLUSTER: &str = "InboundPassthroughCluster";
/// Where iptables redirects what goes out.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Where iptables redirects what comes in.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";
/// Answers DNS queries for services with a virtual address.
pub const DNS_LISTENER: &str = "dns_127.0.0.1_15053";
/// The route configuration of explicit listeners.
pub const EXPLICIT_ROUTES: &str = "http";
/// What all names begin with by which callers of other networks say what they want.
pub const SERVER_NAME_PREFIX: &str = "outbound_.";
/// What all names begin with by which gRPC servers ask for the listener of the address at which they listen (gRFC A36).
pub const SERVER_LISTENER: &str = "grpc/server?xds.resource.listening_address=";
/// No cluster has this name. Requests for it are answered as [`crate`]'s routes say for clusters that are not there: with 500.
pub const UNRESOLVED_CLUSTER: &str = "unresolved";

/// The cluster of a service's port: `outbound|80||cart.shop.svc.cluster.local`.
pub fn outbound_cluster(port: u16, hostname: &Hostname) -> String {
    format!("outbound|{port}||{hostname}")
}

/// The name by which callers of other networks tell an east-west gateway which port of a service they want, and the gateway's cluster for
/// it: `outbound_.80_._.cart.shop.svc.cluster.local`. A TLS server name is a DNS name, which the other form is not.
pub fn server_name(port: u16, hostname: &Hostname) -> String {
    format!("{SERVER_NAME_PREFIX}{port}_._.{hostname}")
}

/// The service of a cluster, from either of its names; `None` where it is of none.
pub fn service_of(cluster: &str) -> Option<Hostname> {
    let hostname = match cluster.strip_prefix(SERVER_NAME_PREFIX) {
        Some(rest) => rest.split_once("_._.")?.1,
        None => cluster.strip_prefix("outbound|")?.rsplit('|').next()?,
    };
    hostname.parse().ok()
}

/// The cluster of a workload's own port: `inbound|8080||`.
pub fn inbound_cluster(port: u16) -> String {
    format!("inbound|{port}||")
}

/// A listener on an address: `10.0.0.1_80`, `[::1]_80`.
pub fn listener(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}_{port}"),
        IpAddr::V6(address) => format!("[{address}]_{port}"),
    }
}

/// A virtual host of a shared route configuration. Everything before the last `/` is the name of the latter: by it Envoy tells which
/// one a virtual host that comes by itself belongs to.
pub fn virtual_host(routes: &str, host: &str) -> String {
    format!("{routes}/{host}")
}

/// The route configuration of one sniffed port of a service: `cart.shop.svc.cluster.local:80`.
pub fn sniffed_routes(hostname: &Hostname, port: u16) -> String {
    format!("{hostname}:{port}")
}

/// The route configuration of a gateway's HTTP port: `http.80`.
pub fn gateway_routes(port: u16) -> String {
    format!("http.{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_cluster_say_its_service() {
        let hostname: Hostname = "a.b_._.c.example".parse().unwrap();
        for name in [outbound_cluster(80, &hostname), server_name(80, &hostname)] {
            assert_eq!(service_of(&name), Some(hostname.clone()), "{name}");
        }
        for other in [
            "",
            PASSTHROUGH_CLUSTER,
            "inbound|80||",
            "outbound_.80",
            "outbound|",
        ] {
            assert_eq!(service_of(other), None, "{other}");
        }
    }
}
