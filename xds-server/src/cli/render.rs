//! `bowline render`: what a proxy would get, or gets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use bowline_mesh::{Network, Proxy, Role};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::bootstrap::{CaptureMode, ObjectName};
use super::client::AdminUrl;
use super::envoy_version::EnvoyVersion;
use super::output::{self, Document};
use super::{Outcome, offline, path_segment};
use crate::admin::resources::{self, Selection, TypeName};
use crate::config::Config;
use crate::pipeline::{Rendered, render};

/// Print the configuration that a proxy would get (from files), or gets (from a running server)
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["config", "admin"]))]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["workload", "gateway", "east_west", "proxy"]))]
pub(super) struct Command {
    /// From the registries of this configuration, without a server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// From the server whose admin API is here
    #[arg(long, value_name = "URL", requires = "proxy")]
    admin: Option<AdminUrl>,
    /// The sidecar of this workload
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "admin")]
    workload: Option<ObjectName>,
    /// This gateway
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "admin")]
    gateway: Option<ObjectName>,
    /// The east-west gateway of this network
    #[arg(long, value_name = "NETWORK", conflicts_with = "admin")]
    east_west: Option<Network>,
    /// The connected proxy with this id, as `bowline proxies` lists it, or with this in its id if that is only one
    #[arg(long, value_name = "ID", conflicts_with = "config")]
    proxy: Option<String>,
    /// How connections come to the sidecar
    #[arg(long, value_enum, default_value = "explicit")]
    capture: CaptureMode,
    /// The application itself, whose gRPC library speaks xDS, instead of a sidecar beside it
    #[arg(long, requires = "workload", conflicts_with = "capture")]
    grpc: bool,
    /// The version of the proxy's Envoy: older ones than 1.38 take no virtual hosts by themselves, but whole route configurations
    #[arg(long, value_name = "VERSION", default_value_t = EnvoyVersion::NEWEST, conflicts_with_all = ["admin", "grpc"])]
    envoy_version: EnvoyVersion,
    /// Resources of this type only
    #[arg(long = "type", value_name = "cds|eds|lds|rds|vhds|sds")]
    resource_type: Option<TypeName>,
    /// The resource with this name only
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Document,
}

const EXAMPLE: &str = "Examples:
  bowline render --config bowline.yaml --workload shop/cart-1 --type cds
  bowline render --config bowline.yaml --gateway default/edge --type vhds
  bowline render --config bowline.yaml --gateway default/edge --envoy-version 1.37 --type rds
  bowline render --config bowline.yaml --east-west vpc-2 --type eds
  bowline render --config bowline.yaml --workload shop/web-1 --grpc --type lds --name cart:50051
  bowline render --admin http://127.0.0.1:15014 --proxy cart-1.shop";

pub(super) fn run(command: &Command) -> Result<Outcome> {
    let resources = match (&command.config, &command.admin, &command.proxy) {
        (Some(path), _, _) => serde_json::to_value(from_files(command, &Config::load(path)?)?)?,
        (None, Some(url), Some(proxy)) => from_server(command, url, proxy)?,
        (None, _, _) => bail!("neither files nor a server were given to render from"),
    };
    let is_empty = resources.as_object().is_some_and(|types| {
        types
            .values()
            .all(|listed| listed.as_array().is_some_and(Vec::is_empty))
    });
    output::print(&command.output.text(&resources)?)?;
    if is_empty {
        output::complain("note: there is no such resource\n");
        return Ok(Outcome::Failure);
    }
    Ok(Outcome::Success)
}

fn from_files(
    command: &Command,
    config: &Config,
) -> Result<BTreeMap<&'static str, Vec<resources::Listed>>> {
    let offline = offline::read(config);
    let proxy = Proxy {
        route_delivery: command.envoy_version.route_delivery(),
        ..proxy(command, &offline)?
    };
    let Rendered { snapshot, problems } = render(&offline.mesh, &proxy);
    if !problems.is_empty() {
        output::complain(&format!(
            "note: {} problems concern this proxy; `bowline check --config {}` lists them\n",
            problems.len(),
            config.path.display()
        ));
    }
    let selection = Selection {
        resource_type: command
            .resource_type
            .map(|TypeName(resource_type)| resource_type),
        name: command.name.clone(),
    };
    Ok(resources::list(&snapshot, &selection))
}

fn proxy(command: &Command, offline: &offline::Offline) -> Result<Proxy> {
    if let Some(ObjectName(name)) = &command.gateway {
        if offline.mesh.gateway(name).is_none() {
            let known: Vec<_> = offline.mesh.gateways().map(ToString::to_string).collect();
            bail!("no registry has gateway {name}; {}", known_names(&known));
        }
        return Ok(offline::gateway(name.clone()));
    }
    if let Some(network) = &command.east_west {
        return Ok(offline::east_west("default".parse()?, network.clone()));
    }
    let Some(ObjectName(name)) = &command.workload else {
        bail!("neither a workload nor a gateway was given");
    };
    if offline
        .mesh
        .workload_named(&name.namespace, &name.name)
        .is_none()
    {
        // It is served nevertheless: what goes out of it needs no workload to be known.
        output::complain(&format!(
            "note: no registry has workload {name}, so nothing is known of its ports\n"
        ));
    }
    let role = match command.grpc {
        true => Role::Grpc,
        false => Role::Sidecar(command.capture.into()),
    };
    Ok(offline::beside_workload(
        &offline.mesh,
        name.namespace.clone(),
        name.name.clone(),
        role,
    ))
}

/// More names than these are counted only.
const SHOWN_MAX: usize = 10;

fn known_names(known: &[String]) -> String {
    match known {
        [] => "there is none".to_owned(),
        known if known.len() <= SHOWN_MAX => format!("there is {}", known.join(", ")),
        known => format!("there are {} others", known.len()),
    }
}

/// As the API tells it.
#[derive(Debug, Deserialize)]
struct Connected {
    id: String,
}

/// The one proxy that was meant.
fn the_one<'a>(ids: &BTreeSet<&'a str>, wanted: &str) -> Result<&'a str> {
    if let Some(id) = ids.get(wanted) {
        return Ok(id);
    }
    let like: Vec<&str> = ids
        .iter()
        .copied()
        .filter(|id| id.contains(wanted))
        .collect();
    match like.as_slice() {
        [only] => Ok(only),
        [] => bail!(
            "no proxy with '{wanted}' in its id is connected; `bowline proxies` lists who is connected"
        ),
        several if several.len() <= SHOWN_MAX => bail!(
            "'{wanted}' is in the ids of {} proxies: {}",
            several.len(),
            several.join(", ")
        ),
        several => bail!(
            "'{wanted}' is in the ids of {} proxies: `bowline proxies {wanted}` lists them",
            several.len()
        ),
    }
}

fn from_server(command: &Command, url: &AdminUrl, wanted: &str) -> Result<Value> {
    let connected: Vec<Connected> = url.server().get("/v1/proxies")?.success()?;
    let ids = connected.iter().map(|proxy| proxy.id.as_str()).collect();
    let proxy = the_one(&ids, wanted)?;
    let mut path = format!("/v1/proxies/{}/resources", path_segment(proxy));
    let mut separator = '?';
    let resource_type = command
        .resource_type
        .map(|TypeName(of)| of.short_name().to_owned());
    for (key, value) in [("type", resource_type), ("name", command.name.clone())] {
        if let Some(value) = value {
            path.push_str(&format!("{separator}{key}={}", path_segment(&value)));
            separator = '&';
        }
    }
    let mut answer: Value = url.server().get(&path)?.success()?;
    Ok(answer
        .get_mut("resources")
        .map(Value::take)
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_id_is_enough_where_only_one_proxy_has_it() {
        let ids = ["a~cart-1.shop~x", "a~cart-12.shop~x", "cart-1"].into();
        let found = |wanted| the_one(&ids, wanted).map_err(|error| error.to_string());
        assert_eq!(found("cart-12"), Ok("a~cart-12.shop~x"));
        assert_eq!(found("cart-1.shop"), Ok("a~cart-1.shop~x"));
        // A whole id, although it is a part of others.
        assert_eq!(found("cart-1"), Ok("cart-1"));
        let several = "'shop' is in the ids of 2 proxies: a~cart-1.shop~x, a~cart-12.shop~x";
        assert_eq!(found("shop"), Err(several.to_owned()));
        assert!(found("web").unwrap_err().contains("no proxy with 'web'"));
    }
}
