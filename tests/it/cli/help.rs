//! Help is part of the interface: every change of it is seen.

use std::fmt::Write as _;

use super::{hoso, mask_line};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["demo"],
    &["serve"],
    &["status"],
    &["dossier"],
    &["dossier", "show"],
    &["dossier", "explain"],
    &["dossier", "history"],
    &["dossier", "diff"],
    &["dossier", "raw"],
    &["dossier", "hold"],
    &["dossier", "release"],
    &["problems"],
    &["problems", "list"],
    &["problems", "show"],
    &["problems", "retry"],
    &["portal"],
    &["portal", "status"],
    &["portal", "pause"],
    &["portal", "resume"],
    &["resync"],
    &["adopt"],
    &["run"],
    &["run", "pull"],
    &["run", "map"],
    &["run", "push"],
    &["run", "reconcile"],
    &["run", "upkeep"],
    &["mapping"],
    &["mapping", "check"],
    &["mapping", "test"],
    &["mapping", "explain"],
    &["catalogue"],
    &["catalogue", "refresh"],
    &["catalogue", "show"],
    &["catalogue", "diff"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["config", "default"],
    &["explain"],
    &["completions"],
    &["man"],
    &["ledger"],
    &["ledger", "size"],
    &["ledger", "check"],
    &["ledger", "backup"],
    &["ledger", "verify"],
    &["ledger", "restore"],
    &["ledger", "compact"],
    &["ledger", "new-key"],
    &["ledger", "rotate-key"],
    &["migrate"],
    &["lab"],
    &["lab", "province"],
    &["lab", "portal"],
    &["lab", "older-sync"],
    &["lab", "soak"],
];

#[test]
fn every_command_says_what_it_does_and_how_to_use_it() {
    let mut all = String::new();
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let ran = hoso(&arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command:?}");
        writeln!(all, "===== hoso {}", arguments.join(" ")).unwrap();
        for line in ran.out.lines() {
            all.push_str(&mask_line(line));
            all.push('\n');
        }
        if !command.is_empty() {
            assert!(
                ran.out.contains("Example: hoso ") || command[0] == "lab",
                "{command:?} has no example"
            );
        }
    }
    insta::assert_snapshot!(all);
}
