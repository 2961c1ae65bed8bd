//! Programs with real gRPC libraries: `tests/e2e/programs`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result};
use bowline_harness::{Bowline, free_port};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::world::{NAMESPACE, World};

/// A gRPC library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `grpcio`: C-core, which Ruby, PHP and others have too.
    Python,
    /// `@grpc/grpc-js-xds`: an implementation of its own.
    Node,
}

impl Kind {
    /// What runs its scripts, and the environment of the application with this name.
    async fn program(
        self,
        bowline: &Bowline,
        folder: &Path,
        name: &str,
    ) -> (PathBuf, Vec<(&'static str, PathBuf)>) {
        let mut environment = vec![("GRPC_XDS_BOOTSTRAP", bootstrap(bowline, folder, name).await)];
        let program = match self {
            Self::Python => xtask::grpc::python().unwrap(),
            Self::Node => {
                let modules = xtask::grpc::node_modules().unwrap().unwrap();
                environment.push(("NODE_PATH", modules));
                PathBuf::from("node")
            }
        };
        (program, environment)
    }
}

/// Those that can be had here.
pub(crate) fn kinds() -> Vec<Kind> {
    match xtask::grpc::node_modules().unwrap() {
        Some(_) => vec![Kind::Python, Kind::Node],
        None => {
            eprintln!("not proven here: gRPC of Node.js, which take node and npm");
            vec![Kind::Python]
        }
    }
}

/// A program that says something for each line that it is told. It ends with this value.
struct Program {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start<A: AsRef<OsStr>>(
        program: &Path,
        script: &str,
        arguments: &[A],
        environment: &[(&str, PathBuf)],
    ) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("programs")
            .join(script);
        let mut child = Command::new(program)
            .arg(script)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("its input")?;
        let output = child.stdout.take().context("its output")?;
        Ok(Self {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    async fn line(&mut self) -> Result<String> {
        let line = self.output.next_line().await?;
        line.context("it has ended")
    }

    async fn tell(&mut self, line: &str) -> Result<String> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        self.line().await
    }
}

/// A gRPC server that answers every call with its name.
pub(crate) struct Server {
    _program: Program,
    port: u16,
}

impl Server {
    pub(crate) async fn start(name: &str) -> Self {
        let python = xtask::grpc::python().unwrap();
        let mut program = Program::start(&python, "grpc_server.py", &[name], &[]).unwrap();
        let port = program.line().await.unwrap().parse().unwrap();
        Self {
            _program: program,
            port,
        }
    }

    /// One that asks the control plane whether and how it serves, by a bootstrap of ours. It is not waited for.
    pub(crate) async fn with_xds(kind: Kind, name: &str, world: &World) -> Self {
        let port = free_port().unwrap();
        let arguments = [name, &port.to_string(), "xds"];
        let (program, environment) = kind.program(&world.bowline, world.folder(), name).await;
        let script = match kind {
            Kind::Python => "grpc_server.py",
            Kind::Node => "grpc_server.js",
        };
        let program = Program::start(&program, script, &arguments, &environment).unwrap();
        Self {
            _program: program,
            port,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// A gRPC application that calls one target.
pub(crate) struct Client(Program);

/// What became of some calls.
#[derive(Debug)]
pub(crate) struct Report {
    answered: Vec<(String, u64)>,
    pub(crate) failed: Vec<(String, u64)>,
}

impl Client {
    /// Beside the workload `web-1`, with a bootstrap of ours.
    pub(crate) async fn at(kind: Kind, world: &World, target: &str) -> Self {
        Self::start(kind, &world.bowline, world.folder(), target).await
    }

    /// The same in a folder.
    pub(crate) async fn start(kind: Kind, bowline: &Bowline, folder: &Path, target: &str) -> Self {
        let (program, environment) = kind.program(bowline, folder, "web-1").await;
        let script = match kind {
            Kind::Python => "grpc_client.py",
            Kind::Node => "grpc_client.js",
        };
        let arguments = [target, "/shop.Cart/Get"];
        Self(Program::start(&program, script, &arguments, &environment).unwrap())
    }

    /// Makes some calls, one after the other.
    pub(crate) async fn call(&mut self, times: u32) -> Result<Report> {
        #[derive(Deserialize)]
        struct Said {
            answered: std::collections::BTreeMap<String, u64>,
            failed: std::collections::BTreeMap<String, u64>,
        }
        let said = self.0.tell(&times.to_string()).await?;
        let Said { answered, failed } =
            serde_json::from_str(&said).with_context(|| said.clone())?;
        Ok(Report {
            answered: answered.into_iter().collect(),
            failed: failed.into_iter().collect(),
        })
    }
}

/// Writes the bootstrap of an application into a folder.
async fn bootstrap(bowline: &Bowline, folder: &Path, name: &str) -> PathBuf {
    let node = ["--name", name, "--namespace", NAMESPACE];
    let command = [&["bootstrap", "--role", "grpc"], node.as_slice()].concat();
    let bootstrap = bowline.output(&command).await.unwrap();
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, bootstrap).unwrap();
    file
}

impl Report {
    pub(crate) fn answered_by(&self, name: &str) -> u64 {
        let mut answered = self.answered.iter();
        let found = answered.find(|(server, _)| server == name);
        found.map_or(0, |(_, times)| *times)
    }
}
