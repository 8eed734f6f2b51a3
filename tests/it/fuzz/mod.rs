//! The fuzzer's properties without the fuzzer: every seed and every input that is kept in
//! `fuzz/corpus` is run through its target.

#[expect(unreachable_pub, reason = "the fuzz crate's own library, where it is a root")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[test]
#[expect(clippy::disallowed_methods, reason = "asked for by fuzz/run, to begin from the seeds")]
fn every_kept_input_holds_its_property() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write_to = std::env::var_os("HOSO_FUZZ_SEEDS");
    let mut broken = Vec::new();
    for (name, _, seeds) in targets::TARGETS {
        let property = targets::property(name);
        let mut inputs: Vec<(String, Vec<u8>)> = seeds(root)
            .into_iter()
            .enumerate()
            .map(|(number, input)| (format!("seed-{number}"), input))
            .collect();
        if let Some(folder) = &write_to {
            let folder = Path::new(folder).join(name);
            std::fs::create_dir_all(&folder).expect("a folder");
            for (number, input) in &inputs {
                std::fs::write(folder.join(number), input).expect("a seed");
            }
        }
        let corpus = root.join("fuzz/corpus").join(name);
        for entry in std::fs::read_dir(&corpus).expect("a corpus of each target") {
            let path = entry.expect("an entry").path();
            inputs.push((path.display().to_string(), std::fs::read(&path).expect("an input")));
        }
        for (input, bytes) in inputs {
            if catch_unwind(AssertUnwindSafe(|| property(&bytes))).is_err() {
                broken.push(format!("{name}: {input}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
