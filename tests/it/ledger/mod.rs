//! What every backend of the ledger promises, a story a promise. `support` opens the ledger and
//! plays source, mapping and portal; `files` is about SQLite's file alone; `lives` draws random
//! sequences of verbs and checks the invariants after each.

mod adopt;
mod audit;
mod catalogue;
mod causes;
mod copies;
mod damage;
mod files;
mod keys;
mod lives;
mod map;
mod observed;
mod operate;
mod pause;
mod pull;
mod push;
mod reconcile;
mod retention;
mod select;
mod steps;
mod support;
mod upkeep;
mod view;
mod watch;
