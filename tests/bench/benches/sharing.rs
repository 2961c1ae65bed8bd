//! What ten thousand sidecars of a thousand kinds of workload share: `cargo bench -p bowline-bench --bench sharing`.

use std::io::{self, Write};

use bowline_bench::{Fleet, Sharing, resident_memory};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| services | sidecars | layers | encoded, shared | encoded, if each had its own | memory of the process |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for services in [1_000, 10_000, 100_000] {
        let (sharing, serving) = Sharing::of(Fleet { services }, 10_000, 1_000);
        let memory = resident_memory().map_or("unknown".to_owned(), megabytes);
        let Sharing {
            sidecars,
            layers,
            bytes,
            bytes_unshared,
        } = sharing;
        writeln!(
            out,
            "| {services} | {sidecars} | {layers} | {} | {} | {memory} |",
            megabytes(bytes),
            megabytes(bytes_unshared),
        )?;
        drop(serving);
    }
    Ok(())
}

fn megabytes(bytes: usize) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
