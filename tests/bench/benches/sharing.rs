//! What ten thousand sidecars of a thousand kinds of workload share: `cargo bench -p bowline-bench --bench sharing`.

use std::io::{self, Write};

use bowline_bench::{Fleet, Sharing, resident_memory};

const WORKLOADS: usize = 10_000;
const KINDS: usize = 1_000;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| services | sidecars | layers | encoded, shared | encoded, if each had its own | memory: mesh | memory: mesh and layers |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for services in [1_000, 10_000, 100_000] {
        let fleet = Fleet { services };
        let store = Sharing::mesh(fleet, WORKLOADS, KINDS);
        let of_mesh = memory();
        let (sharing, serving) = Sharing::of(fleet, store, WORKLOADS, KINDS);
        let of_all = memory();
        let Sharing {
            sidecars,
            layers,
            bytes,
            bytes_unshared,
        } = sharing;
        writeln!(
            out,
            "| {services} | {sidecars} | {layers} | {} | {} | {of_mesh} | {of_all} |",
            megabytes(bytes),
            megabytes(bytes_unshared),
        )?;
        drop(serving);
    }
    Ok(())
}

fn memory() -> String {
    resident_memory().map_or("unknown".to_owned(), megabytes)
}

fn megabytes(bytes: usize) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
