//! Running the program.

use std::path::Path;
use std::process::{Command, Output};

/// The program.
pub(crate) fn bowline() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bowline"))
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// What it printed, if all is well.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }
}

/// Runs a command line in a directory.
pub(crate) fn run(directory: &Path, line: &str) -> Ran {
    let output = bowline()
        .args(line.split_whitespace())
        .current_dir(directory)
        .output();
    Ran::of(output.unwrap())
}

/// A directory with a configuration that listens on free ports, and an inventory.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "bowline.yaml", CONFIGURATION);
    write(directory.path(), "inventory.yaml", INVENTORY);
    directory
}

pub(crate) fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

pub(crate) const CONFIGURATION: &str = "mesh: {trust_domain: mesh.example}
xds: {address: '127.0.0.1:0', tls: {address: '127.0.0.1:0'}}
admin: {address: '127.0.0.1:0'}
registries: [{name: vms, inventory: {path: ./inventory.yaml}}]
";

const INVENTORY: &str = "namespace: shop
services:
  - {name: cart, ports: [{number: 80, protocol: http}]}
workloads:
  - {name: cart-1, address: 10.0.0.1, services: [cart], ports: {http: 8080}, service_account: cart}
";
