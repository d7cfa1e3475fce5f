pub mod digest;
pub mod problem;
pub mod row;
pub mod score;
pub mod stats;
pub mod spec;
pub mod store;
pub mod template;
pub mod cli { pub fn main(_: std::env::ArgsOs) -> std::process::ExitCode { std::process::ExitCode::SUCCESS } }
