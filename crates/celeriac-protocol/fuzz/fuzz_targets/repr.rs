#![no_main]

#[allow(dead_code)]
#[path = "../probes.rs"]
mod probes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| probes::repr(bytes));
