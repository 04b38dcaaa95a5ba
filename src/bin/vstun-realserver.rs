//! `vstun-realserver`: see `vstun-realserver --help`.

fn main() -> std::process::ExitCode {
    vstun::app::cli::realserver()
}
