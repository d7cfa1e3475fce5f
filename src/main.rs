//! The `etalon` program: collects its arguments, calls [`etalon::cli`], returns its exit code.

/// With the system's allocator, a quarter of the work of a call would be allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    etalon::cli::main(std::env::args_os())
}
