//! "Never lies, never loses" as a measured fact: whole weeks of a province and a portal that do
//! everything wrong, run from a seed, serially and repeatably, on the program that ships.
//!
//! Real are the daemon with its loops, the verbs, the entry's machine, gate, mapping and the SQLite
//! ledger. Simulated are the clock (the runtime's, which jumps to the next timer), chance, the network,
//! the two laboratories' moods, sudden deaths, the disk's moods, and people. `ops` draws what happens,
//! `run` lets it happen, `witness` and `properties` hold the rules, `minimise` shortens what failed,
//! `reproductions` keeps it.
//!
//! ```sh
//! cargo test --test it simulation                                                 # the usual seeds
//! HOSO_SIM_FIRST=1000 HOSO_SIM_SEEDS=5000 cargo test --release --test it simulation::seeds   # others
//! HOSO_SIM_FIRST=4711 HOSO_SIM_SEEDS=1 cargo test --test it simulation::seeds     # one of them again
//! ```

mod books;
mod call;
mod defects;
mod door;
mod ledger;
mod machine;
mod minimise;
mod ops;
mod properties;
mod reproductions;
mod run;
mod seeds;
mod time;
mod wire;
mod witness;
mod world;
