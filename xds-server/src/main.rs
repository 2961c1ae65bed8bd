//! `bowline`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Thousands of connections begin and end on a few threads: glibc's allocator took a third more CPU for that (docs/benchmarks.md), and that of
/// musl would do it on one thread at a time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bowline::cli::main()
}
