//! Loads as the API lists them.

use bowline_ads::{Load, Sums};

use super::wire::ListedLoad;

pub(super) fn list(loads: Vec<Load>) -> Vec<ListedLoad> {
    loads.into_iter().map(listed).collect()
}

fn listed(load: Load) -> ListedLoad {
    let Load {
        workload,
        service,
        cluster,
        locality,
        sums:
            Sums {
                requests,
                succeeded,
                errors,
                dropped,
            },
        in_progress,
        per_second,
        errors_per_second,
    } = load;
    ListedLoad {
        source: service.to_string(),
        workload: workload.to_string(),
        destination: destination(&cluster),
        cluster: cluster.to_string(),
        locality: locality.to_string(),
        requests,
        succeeded,
        errors,
        dropped,
        in_progress,
        per_second,
        errors_per_second,
    }
}

/// The host and port in the name of a cluster: `outbound|80||cart.shop.svc.cluster.local`.
fn destination(cluster: &str) -> String {
    let mut parts = cluster.split('|');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("outbound"), Some(port), Some(""), Some(host)) => format!("{host}:{port}"),
        (Some("outbound"), Some(port), Some(subset), Some(host)) => {
            format!("{host}:{port} ({subset})")
        }
        _ => cluster.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_the_host_and_port_of_its_cluster() {
        for (cluster, expected) in [
            ("outbound|80||cart.shop", "cart.shop:80"),
            ("outbound|80|v2|cart.shop", "cart.shop:80 (v2)"),
            ("PassthroughCluster", "PassthroughCluster"),
            ("outbound|80", "outbound|80"),
        ] {
            assert_eq!(destination(cluster), expected);
        }
    }
}
