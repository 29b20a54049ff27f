#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| usher::config::fuzz::config(data));
