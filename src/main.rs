//! The `etalon` program: collects its arguments, calls [`etalon::cli`], returns its exit code.

/// Allocation is a quarter of the work of a call with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    etalon::cli::main(std::env::args_os())
}
