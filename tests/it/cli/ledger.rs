//! The file's own commands, as an operator types them.

use super::{accepted, copied, hoso, on, on_settled};

#[test]
fn a_backup_is_made_verified_and_put_back() {
    let demo = copied();
    let backup = demo.path().join("backup.db");
    let file = backup.to_str().unwrap();
    let made = on(demo.path(), &["ledger", "backup", file, "--json"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert_eq!(made.json()["rows"]["dossier"], 60);
    let verified = on(demo.path(), &["ledger", "verify", file]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    assert!(verified.out.contains("it can be restored"), "{}", verified.out);
    let why = ["--reason", "disk failure"];
    let refused = on(demo.path(), &[&["ledger", "restore", file][..], &why].concat());
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains("--replace"), "{}", refused.err);
    let restored = on(demo.path(), &[&["ledger", "restore", file, "--replace"][..], &why].concat());
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert!(restored.out.contains("read again before anything of it is sent"), "{}", restored.out);
    let status = on(demo.path(), &["status"]);
    assert!(status.out.starts_with("restored from a backup"), "{}", status.out);
    assert_eq!(on(demo.path(), &["ledger", "check"]).code, 0);
    std::fs::write(&backup, "x").unwrap();
    assert_eq!(on(demo.path(), &["ledger", "verify", file]).code, 4);
    assert_eq!(on(demo.path(), &["ledger", "verify", "nowhere.db"]).code, 5);
}

#[test]
fn the_ledger_tells_its_size_and_that_it_is_sound() {
    let size = on_settled(&["ledger", "size"]);
    assert_eq!(size.code, 0, "{}", size.err);
    for class in ["bodies", "attempts", "dossiers", "full in"] {
        assert!(size.out.contains(class), "{}", size.out);
    }
    let check = on_settled(&["ledger", "check"]);
    assert_eq!((check.code, check.err.as_str()), (0, ""));
    assert!(check.out.contains("sound"), "{}", check.out);
}

#[test]
fn a_ledger_is_sealed_afterwards_and_refuses_to_open_without_its_key() {
    let demo = copied();
    let key = demo.path().join("ledger.key");
    let made = hoso(&["ledger", "new-key", key.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{}", made.err);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(hoso(&["ledger", "new-key", key.to_str().unwrap()]).code, 1, "never replaced");
    assert_eq!(hoso(&["ledger", "new-key"]).out.trim().len(), 64);
    let config = demo.path().join("hoso.toml");
    let plain = std::fs::read_to_string(&config).unwrap();
    let sealed = plain.replace("[ledger]\n", "[ledger]\nkey_file = \"ledger.key\"\n");
    assert_ne!(plain, sealed);
    std::fs::write(&config, sealed).unwrap();
    let why = ["--reason", "P6"];
    let rotated = on(demo.path(), &[&["ledger", "rotate-key"][..], &why].concat());
    assert_eq!(rotated.code, 0, "{}{}", rotated.out, rotated.err);
    assert_eq!(on(demo.path(), &["ledger", "check"]).code, 0);
    std::fs::write(&config, plain).unwrap();
    let refused = on(demo.path(), &["status"]);
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains("ledger.key_missing"), "{}", refused.err);
    assert!(refused.err.contains("HOSO_LEDGER_KEY"), "{}", refused.err);
}

#[test]
fn a_legal_hold_is_placed_shown_and_released() {
    let demo = copied();
    let code = accepted();
    let why = ["--reason", "khiếu nại 12/2026"];
    let held = on(demo.path(), &[&["dossier", "hold", &code][..], &why].concat());
    assert_eq!(held.code, 0, "{}", held.err);
    let shown = on(demo.path(), &["dossier", "show", &code]);
    assert!(shown.out.contains("legal hold"), "{}", shown.out);
    assert!(shown.out.contains("khiếu nại 12/2026"), "{}", shown.out);
    assert_eq!(on(demo.path(), &[&["dossier", "release", &code][..], &why].concat()).code, 0);
    assert!(!on(demo.path(), &["dossier", "show", &code]).out.contains("legal hold"));
    let history = on(demo.path(), &["dossier", "history", &code]);
    assert!(history.out.contains("hold by"), "{}", history.out);
    assert_eq!(on(demo.path(), &[&["dossier", "hold", "nobody"][..], &why].concat()).code, 5);
}
