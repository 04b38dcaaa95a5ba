#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vstun_fuzz::bodies::merged_gue(input));
