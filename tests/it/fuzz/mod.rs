//! The fuzzer's properties without the fuzzer: every seed, every input that is kept in `fuzz/corpus`,
//! and some changed by chance, the same in every run.
//!
//! `HOSO_FUZZ_ROUNDS=100000 cargo test --test it fuzz::` changes more of them.

#[expect(unreachable_pub, reason = "the fuzz crate's own library, where it is a root")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;

/// Longer ones are slow and say no more.
const BYTES_MAX: usize = 16 * 1024;

/// Name and bytes.
type Input = (String, Vec<u8>);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seeds(of: targets::Seeds) -> Vec<Input> {
    let named = |(number, bytes)| (format!("seed {number}"), bytes);
    of(root()).into_iter().enumerate().map(named).collect()
}

fn kept(name: &str) -> Vec<Input> {
    let folder = root().join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).expect("a corpus of each target");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (path.display().to_string(), std::fs::read(&path).expect("an input"))
        })
        .collect()
}

/// Names of the inputs for which the property does not hold.
fn broken(target: &str, inputs: impl IntoIterator<Item = Input>) -> Vec<String> {
    let property = targets::property(target);
    inputs
        .into_iter()
        .filter(|(_, bytes)| catch_unwind(AssertUnwindSafe(|| property(bytes))).is_err())
        .map(|(name, bytes)| format!("{target}: {name}: {}", bytes.escape_ascii()))
        .collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asked for by fuzz/run, to begin from the seeds")]
fn every_kept_input_holds_its_property() {
    let write_to = std::env::var_os("HOSO_FUZZ_SEEDS");
    let mut wrong = Vec::new();
    for (name, _, of) in targets::TARGETS {
        let seeds = seeds(*of);
        if let Some(folder) = &write_to {
            let folder = Path::new(folder).join(name);
            std::fs::create_dir_all(&folder).expect("a folder");
            for (number, seed) in &seeds {
                std::fs::write(folder.join(number), seed).expect("a seed");
            }
        }
        wrong.extend(broken(name, seeds.into_iter().chain(kept(name))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asked for by hand, for more than a moment")]
fn inputs_that_are_changed_by_chance_hold_it_too() {
    let rounds = std::env::var("HOSO_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds: usize = rounds.unwrap_or(60);
    let mut wrong = Vec::new();
    for (name, _, of) in targets::TARGETS {
        let mut rng = Rng::with_seed(42);
        let mut pool: Vec<Vec<u8>> =
            seeds(*of).into_iter().chain(kept(name)).map(|(_, bytes)| bytes).collect();
        pool.retain(|bytes| bytes.len() <= BYTES_MAX);
        let words = dictionary(name);
        let inputs = (0..rounds).map(|round| {
            let bytes = if rng.u8(..3) == 0 {
                // A recipe.
                (0..rng.usize(4..120)).map(|at| if at == 0 { 0xFF } else { rng.u8(..) }).collect()
            } else {
                changed(&pool, &words, &mut rng)
            };
            (format!("round {round}"), bytes)
        });
        wrong.extend(broken(name, inputs));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One of the pool, changed in a few places.
fn changed(pool: &[Vec<u8>], words: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.choice(pool).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=bytes.len());
        let to = rng.usize(at..=bytes.len().min(at + 40));
        match rng.u8(..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes.insert(at, rng.u8(..)),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let part = bytes[at..to].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let other = rng.choice(pool).map_or(&[][..], Vec::as_slice);
                let from = rng.usize(..=other.len());
                let part = other[from..other.len().min(from + 40)].to_vec();
                bytes.splice(at..to, part);
            }
            _ => {
                let word = rng.choice(words).cloned().unwrap_or_default();
                bytes.splice(at..to, word);
            }
        }
    }
    bytes
}

/// The words of the fuzzer's dictionary; its escapes are left as they are.
fn dictionary(target: &str) -> Vec<Vec<u8>> {
    let path = root().join("fuzz/dictionaries").join(format!("{target}.dict"));
    let text = std::fs::read_to_string(path).expect("a dictionary of each target");
    text.lines().map(|line| line.trim_matches('"').replace("\\\"", "\"").into_bytes()).collect()
}
