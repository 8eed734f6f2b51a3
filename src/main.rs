//! The binary `hoso`; everything is in the library.

fn main() -> std::process::ExitCode {
    hoso_gateway::cli::main()
}
