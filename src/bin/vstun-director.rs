//! `vstun-director`: see `vstun-director --help`.

fn main() -> std::process::ExitCode {
    vstun::app::cli::director()
}
