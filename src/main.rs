//! The `etalon` program: collects its arguments, calls [`etalon::cli`], returns its exit code.

fn main() -> std::process::ExitCode {
    etalon::cli::main(std::env::args_os())
}
