//! hoso-gateway brings administrative dossiers (hồ sơ) of a province to Vietnam's National Public
//! Service Portal, and can prove what it did.
//!
//! Data flows one way: `source` → `mapping` → `ledger` → `portal` → `ledger`.
//!
//! - [`domain`]: ground floor; plain types of the work, no async, no I/O, no "now".
//! - [`clock`], [`ids`], [`http`]: the only doors to time, chance and the network.
//! - [`machine`], [`notify`]: the doors to the operating system and to its service manager.
//! - [`xml`]: hardened XML reading.
//! - [`config`]: one commented file, every mistake told at once.
//! - [`source`]: the provincial system: what changed, one dossier, the index.
//! - [`messages`]: what operators read, in Vietnamese and English.
//! - [`mapping`]: XML in, typed dossier and diagnostics out, by a declarative table.
//! - [`ledger`]: what the source said, what is owed, what was sent, what came back.
//! - [`portal`]: the national portal: session, gate, calls, verdicts.
//! - [`pipeline`]: the verbs; the only place where the parts above meet.
//! - [`daemon`]: the loops that run the verbs, and their end.
//! - [`lab`]: a simulated province and portal, for demo, tests and rehearsals.
//! - [`sabotage`]: deliberate bugs and sudden deaths, in test builds only.
//! - [`cli`]: commands for operators; builds everything, prints everything.
//!
//! Directions: `domain` uses nothing of ours but itself. `source`, `mapping`, `portal` and `ledger`
//! do not know one another; only `pipeline` does. `lab` knows only the wire. A test holds this.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod http;
pub mod ids;
pub mod lab;
pub mod ledger;
pub mod machine;
pub mod mapping;
pub mod messages;
pub mod notify;
pub mod pipeline;
pub mod portal;
pub mod sabotage;
pub mod source;
pub mod xml;
