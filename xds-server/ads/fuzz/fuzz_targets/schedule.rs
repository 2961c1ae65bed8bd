//! What happens to a stream.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bowline_ads::fuzzing::schedule(bytes));
