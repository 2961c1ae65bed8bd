//! Compiles Envoy's .proto files and our own to Rust and to one descriptor set.
//!
//! Ours are in `bowline/`, beside this file. Envoy's come from the crate `envoy-types`, which carries
//! their whole closure: nothing is copied into this repository, and no protoc is needed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost_types::FileDescriptorSet;
use protox::file::{File, FileResolver, GoogleFileResolver};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The repositories that Envoy's API is spread over, as `envoy-types` lays them out.
const INCLUDES: &[&str] = &[
    "data-plane-api",
    "xds",
    "protoc-gen-validate",
    "googleapis",
    "cel-spec/proto",
    "client_model",
    "opentelemetry-proto",
];

/// What we speak of Envoy's API, as files or whole folders; their imports come along.
///
/// Every package costs compile time in each build: take what is sent, received or printed.
const ROOTS: &[&str] = &[
    "envoy/admin/v3/config_dump.proto",
    "envoy/config/bootstrap/v3",
    "envoy/config/cluster/v3",
    "envoy/config/core/v3",
    "envoy/config/endpoint/v3",
    "envoy/config/listener/v3",
    "envoy/config/rbac/v3",
    "envoy/config/route/v3",
    "envoy/data/accesslog/v3",
    "envoy/data/dns/v3",
    "envoy/extensions/access_loggers/file/v3",
    "envoy/extensions/access_loggers/grpc/v3",
    "envoy/extensions/access_loggers/stream/v3",
    "envoy/extensions/clusters/aggregate/v3",
    "envoy/extensions/clusters/common/dns/v3",
    "envoy/extensions/clusters/dns/v3",
    "envoy/extensions/clusters/dynamic_forward_proxy/v3",
    "envoy/extensions/common/dynamic_forward_proxy/v3",
    "envoy/extensions/common/matching/v3",
    "envoy/extensions/filters/common/fault/v3",
    "envoy/extensions/filters/http/cors/v3",
    "envoy/extensions/filters/http/dynamic_forward_proxy/v3",
    "envoy/extensions/filters/http/ext_authz/v3",
    "envoy/extensions/filters/http/ext_proc/v3",
    "envoy/extensions/filters/http/fault/v3",
    "envoy/extensions/filters/http/header_to_metadata/v3",
    "envoy/extensions/filters/http/health_check/v3",
    "envoy/extensions/filters/http/jwt_authn/v3",
    "envoy/extensions/filters/http/local_ratelimit/v3",
    "envoy/extensions/filters/http/on_demand/v3",
    "envoy/extensions/filters/http/rbac/v3",
    "envoy/extensions/filters/http/router/v3",
    "envoy/extensions/filters/http/stateful_session/v3",
    "envoy/extensions/filters/listener/http_inspector/v3",
    "envoy/extensions/filters/listener/original_dst/v3",
    "envoy/extensions/filters/listener/proxy_protocol/v3",
    "envoy/extensions/filters/listener/tls_inspector/v3",
    "envoy/extensions/filters/network/http_connection_manager/v3",
    "envoy/extensions/filters/network/rbac/v3",
    "envoy/extensions/filters/network/sni_cluster/v3",
    "envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3",
    "envoy/extensions/filters/network/tcp_proxy/v3",
    "envoy/extensions/filters/udp/dns_filter/v3",
    "envoy/extensions/http/stateful_session/cookie/v3",
    "envoy/extensions/http/stateful_session/header/v3",
    "envoy/extensions/internal_redirect/allow_listed_routes/v3",
    "envoy/extensions/internal_redirect/previous_routes/v3",
    "envoy/extensions/internal_redirect/safe_cross_scheme/v3",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3",
    "envoy/extensions/load_balancing_policies/cluster_provided/v3",
    "envoy/extensions/load_balancing_policies/least_request/v3",
    "envoy/extensions/load_balancing_policies/maglev/v3",
    "envoy/extensions/load_balancing_policies/override_host/v3",
    "envoy/extensions/load_balancing_policies/random/v3",
    "envoy/extensions/load_balancing_policies/ring_hash/v3",
    "envoy/extensions/load_balancing_policies/round_robin/v3",
    "envoy/extensions/load_balancing_policies/subset/v3",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3",
    "envoy/extensions/matching/common_inputs/network/v3",
    "envoy/extensions/matching/common_inputs/ssl/v3",
    "envoy/extensions/network/dns_resolver/cares/v3",
    "envoy/extensions/retry/host/omit_host_metadata/v3",
    "envoy/extensions/retry/host/previous_hosts/v3",
    "envoy/extensions/retry/priority/previous_priorities/v3",
    "envoy/extensions/transport_sockets/proxy_protocol/v3",
    "envoy/extensions/transport_sockets/raw_buffer/v3",
    "envoy/extensions/transport_sockets/tls/v3",
    "envoy/extensions/upstreams/http/v3",
    "envoy/service/cluster/v3",
    "envoy/service/discovery/v3",
    "envoy/service/endpoint/v3",
    "envoy/service/extension/v3",
    "envoy/service/listener/v3",
    "envoy/service/load_stats/v3",
    "envoy/service/route/v3",
    "envoy/service/runtime/v3",
    "envoy/service/secret/v3",
    "envoy/service/status/v3",
    "envoy/type/http/v3",
    "envoy/type/matcher/v3",
    "envoy/type/v3",
    "xds/core/v3",
    "xds/type/matcher/v3",
    "xds/type/v3",
];

/// Our own messages.
const OWN_ROOT: &str = "bowline";

/// Packages that Envoy's files name relatively, as `common.…`, and that are in `envoy.extensions`.
///
/// A relative name is looked up from the innermost package outwards: by protoc in what the file itself
/// imports, by protox in everything loaded so far. There it finds `envoy.extensions.filters.common` or
/// `envoy.extensions.clusters.common` first, which do not hold these, and gives up.
const RELATIVE_PACKAGES: &[&str] = &["common.dynamic_forward_proxy.v3.", "common.ratelimit.v3."];

fn main() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-changed={OWN_ROOT}");

    let envoy = envoy_proto_folder(&manifest_dir)?;
    let mut includes: Vec<_> = INCLUDES.iter().map(|folder| envoy.join(folder)).collect();
    includes.push(manifest_dir);
    let mut roots = Vec::new();
    for root in ROOTS.iter().copied().chain([OWN_ROOT]) {
        roots.extend(proto_files(&includes, root)?);
    }

    let compiler = compile(includes, &roots)?;
    // Encoded by the compiler: the types of prost would drop Envoy's options, by which we redact.
    fs::write(
        out_dir.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    generate(compiler.file_descriptor_set())
}

/// The folder `proto/` of the crate `envoy-types`, wherever cargo keeps it: registry or vendored.
fn envoy_proto_folder(manifest_dir: &Path) -> Result<PathBuf> {
    // First without the network: a build must not wait for a registry for what it already has.
    let metadata = match cargo_metadata(manifest_dir, &["--offline"]) {
        Ok(metadata) => metadata,
        Err(_) => cargo_metadata(manifest_dir, &[])?,
    };
    let packages = metadata
        .get("packages")
        .and_then(serde_json::Value::as_array)
        .ok_or("cargo metadata lists no packages")?;
    let manifest = packages
        .iter()
        .find(|package| {
            package
                .get("name")
                .is_some_and(|name| name == "envoy-types")
        })
        .and_then(|package| package.get("manifest_path")?.as_str())
        .ok_or("cargo metadata does not list the package envoy-types")?;
    Ok(Path::new(manifest).with_file_name("proto"))
}

fn cargo_metadata(manifest_dir: &Path, arguments: &[&str]) -> Result<serde_json::Value> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(manifest_dir.join("Cargo.toml"))
        .args(arguments)
        .current_dir(manifest_dir)
        .output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata failed: {reason}").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The .proto files at or below `root`, as names relative to the include path they are found in.
fn proto_files(includes: &[PathBuf], root: &str) -> Result<Vec<String>> {
    let include = includes
        .iter()
        .find(|include| include.join(root).exists())
        .ok_or_else(|| format!("no include path has {root}"))?;
    let mut found = Vec::new();
    let mut open = vec![include.join(root)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            let name = path.strip_prefix(include)?;
            // Import paths have slashes on every platform.
            found.push(
                name.to_str()
                    .ok_or("file name is not UTF-8")?
                    .replace('\\', "/"),
            );
        }
    }
    found.sort();
    Ok(found)
}

fn compile(includes: Vec<PathBuf>, roots: &[String]) -> Result<protox::Compiler> {
    let resolver = Sources {
        includes,
        google: GoogleFileResolver::new(),
    };
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler
        .include_imports(true)
        .include_source_info(false)
        .open_files(roots)?;
    Ok(compiler)
}

/// The include paths, with the ambiguous names in Envoy's files made absolute.
struct Sources {
    includes: Vec<PathBuf>,
    google: GoogleFileResolver,
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> std::result::Result<File, protox::Error> {
        let Some(path) = self
            .includes
            .iter()
            .map(|include| include.join(name))
            .find(|path| path.is_file())
        else {
            return self.google.open_file(name);
        };
        let mut source = fs::read_to_string(&path).map_err(protox::Error::new)?;
        for package in RELATIVE_PACKAGES {
            source = source.replace(
                &format!(" {package}"),
                &format!(" .envoy.extensions.{package}"),
            );
        }
        File::from_source(name, &source)
    }
}

fn generate(mut descriptors: FileDescriptorSet) -> Result<()> {
    // Types of options only: nothing that is sent holds one.
    descriptors
        .file
        .retain(|file| !file.package().ends_with(".annotations") && file.package() != "validate");
    let mut config = prost_build::Config::new();
    config
        // Hash maps encode in random order, and the version of a resource is a hash of its bytes.
        .btree_map(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // Ours holds `Bytes`, so that a resource is encoded once and shared.
        .extern_path(".google.protobuf.Any", "crate::Any")
        .include_file("packages.rs");
    #[cfg(feature = "services")]
    config.service_generator(Box::new(services::ChosenServices::new()));
    Ok(config.compile_fds(descriptors)?)
}

#[cfg(feature = "services")]
mod services {
    use prost_build::{Service, ServiceGenerator};

    /// Generates clients and servers of the few services that are called as such; the ADS server
    /// is wired by hand, because it sends what is already encoded.
    pub(crate) struct ChosenServices {
        client: Box<dyn ServiceGenerator>,
        both: Box<dyn ServiceGenerator>,
    }

    impl ChosenServices {
        pub(crate) fn new() -> Self {
            let builder = || tonic_prost_build::configure().build_transport(false);
            Self {
                client: builder().build_server(false).service_generator(),
                both: builder().service_generator(),
            }
        }
    }

    impl ServiceGenerator for ChosenServices {
        fn generate(&mut self, service: Service, buffer: &mut String) {
            match service.proto_name.as_str() {
                "AggregatedDiscoveryService" => self.client.generate(service, buffer),
                "ClientStatusDiscoveryService" | "LoadReportingService" => {
                    self.both.generate(service, buffer);
                }
                _ => {}
            }
        }

        fn finalize_package(&mut self, package: &str, buffer: &mut String) {
            self.client.finalize_package(package, buffer);
            self.both.finalize_package(package, buffer);
        }
    }
}
