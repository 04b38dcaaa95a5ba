//! `vstun`, the operator's command: see `vstun --help`.

fn main() -> std::process::ExitCode {
    vstun::app::cli::operator()
}
