//! The samples, the defaults, and every way a file can be wrong, with the words people read.

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");
const COMPLETE: &str = include_str!("../../fixtures/config/complete.toml");

/// Variables, and files by name. Every other file is missing.
#[derive(Default)]
struct Machine {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl Environment for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(path.to_str().unwrap());
        text.map(|text| (*text).to_owned())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }
}

fn machine(
    variables: &[(&'static str, &'static str)],
    files: &[(&'static str, &'static str)],
) -> Machine {
    Machine {
        variables: variables.iter().copied().collect(),
        files: files.iter().copied().collect(),
    }
}

fn read(text: &str) -> Config {
    Config::from_toml(text, "hoso.toml", &Machine::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn wrong(text: &str) -> String {
    Config::from_toml(text, "hoso.toml", &Machine::default()).expect_err("a refusal").to_string()
}

#[test]
fn nothing_written_is_the_defaults() {
    let config = read("");
    assert!(config.sources.is_empty());
    assert_eq!(config.ledger.path, Path::new("/var/lib/hoso/ledger.db"));
    assert_eq!(config.ledger.synchronous, Synchronous::Full);
    assert_eq!(config.province.codes, ["H55", "H03"]);
    assert_eq!(config.portal.base_url, None);
    assert_eq!(config.portal.profile, Profile::Adapter);
    assert_eq!(
        config.gate.windows,
        [
            Window { limit: 20, window_ms: 1_000, burst: 0 },
            Window { limit: 600, window_ms: 60_000, burst: 0 },
        ]
    );
    assert_eq!(config.push.steps_on_unknown_status_5, UnknownStep::Hold);
    assert_eq!(config.retry.attempts_max, 12);
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(
        load(None, &Machine::default()).unwrap().effective_toml().lines().next(),
        Some("# In force, from built-in defaults and the defaults.")
    );
}

#[test]
fn the_minimal_sample_takes_the_rest_from_the_defaults() {
    let config = read(MINIMAL);
    let source = &config.sources[0];
    assert_eq!(
        (source.name.as_str(), source.kind, source.auth),
        ("mot-cua", SourceKind::Feed, SourceAuth::None)
    );
    assert_eq!((source.poll_ms, source.page_limit, source.overlap_ms), (5_000, 500, 600_000));
    assert_eq!((source.page_bytes_max, source.item_bytes_max), (64 << 20, 4 << 20));
    assert_eq!(source.volatile_query_keys, ["t", "token", "expires"]);
    assert_eq!(config.province.codes, ["H55"]);
    assert_eq!(config.push, read("").push);
}

#[test]
fn the_complete_sample_sets_every_option_to_something_else() {
    fn walk(path: &str, table: &toml::Table, keys: &mut Vec<String>) {
        for (key, value) in table {
            let path = format!("{path}.{key}");
            match value {
                toml::Value::Table(inner) => walk(&path, inner, keys),
                toml::Value::Array(blocks) if blocks.iter().any(toml::Value::is_table) => {
                    for block in blocks {
                        walk(&path, block.as_table().unwrap(), keys);
                    }
                }
                _ => keys.push(path),
            }
        }
    }

    let config = read(COMPLETE);
    assert_eq!(config.sources[1].poll_ms, 5_000);
    assert_eq!(config.gate.windows[1], Window { limit: 100_000, window_ms: 86_400_000, burst: 0 });
    assert_eq!(config.mapping.tax_identity_type.as_deref(), Some("5"));
    let dropped = &config.sources[2];
    assert_eq!(dropped.kind, SourceKind::Directory);
    assert_eq!((dropped.settle_ms, dropped.unfinished_ms), (10_000, 1_800_000));

    let keys = |text: &str| {
        let table: toml::Table = toml::from_str(text).unwrap();
        let mut keys = Vec::new();
        walk("", &table, &mut keys);
        keys.sort();
        keys.dedup();
        keys
    };
    assert_eq!(keys(COMPLETE), keys(DEFAULT));
}

#[test]
fn a_cut_over_is_a_time_with_its_zone_or_in_vietnam_and_not_in_the_future() {
    let at = |text: &str| {
        let source = "[[sources]]\nname = 'a'\nbase_url = 'http://a.example.invalid'\n";
        read(&format!("{source}start_from = '{text}'\n"))
    };
    let midnight = Timestamp::from_portal("20260201000000");
    for text in [
        "2026-02-01T00:00:00+07:00",
        "2026-01-31T17:00:00Z",
        "2026-02-01 00:00:00",
        "20260201000000",
    ] {
        assert_eq!(at(text).sources[0].start_from, midnight, "{text}");
    }
    assert_eq!(at("").sources[0].start_from, None);
    let config = at("2026-02-01T00:00:00+07:00");
    // What is shown reads back as the same.
    let again = Config::from_toml(&config.effective_toml(), "shown.toml", &Machine::default());
    assert_eq!(again.unwrap().sources[0].start_from, midnight);
    let now = midnight.unwrap();
    config.not_in_the_future(now).unwrap();
    let told = config.not_in_the_future(Timestamp::from_millis(now.millis() - 1)).unwrap_err();
    assert_eq!(
        told.to_string(),
        "hoso.toml: sources[0].start_from: 2026-02-01 00:00:00+07:00 is in the future\n  hint: the older program \
         still sends until then: start this gateway after the cut-over, with the time at which the older one stopped"
    );
}

#[test]
fn every_default_is_explained() {
    let mut explained = false;
    for line in DEFAULT.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if let Some((key, _)) = line.split_once(" = ") {
            // Some share a sentence; the second window repeats the first.
            let shares = [
                "update",
                "steps",
                "look_up",
                "passport_identity_type",
                "breaker_cool_down_max_ms",
                "multiplier",
                "max_ms",
                "lag_p99_ms",
                "working_hours",
                "holidays",
                "disk_free_min_bytes",
                "limit",
                "window_ms",
                "burst",
                "burst_ms",
            ];
            assert!(explained || shares.contains(&key), "{key}");
            explained = false;
        }
    }
}

#[test]
fn relative_paths_begin_at_the_folder_of_the_file() {
    let machine = machine(
        &[],
        &[
            ("/etc/hoso/portal.password", "p\n"),
            ("/etc/hoso/mot-cua.token", "t"),
            ("/etc/hoso/platform.secret", "s\n"),
            ("/etc/hoso/tls/platform.key", "-----BEGIN PRIVATE KEY-----\nk\n"),
        ],
    );
    let config = Config::from_toml(COMPLETE, "/etc/hoso/hoso.toml", &machine).unwrap();
    assert_eq!(config.ledger.path, Path::new("/etc/hoso/hoso/ledger.db"));
    assert_eq!(config.mapping.dir.as_deref(), Some(Path::new("/etc/hoso/mappings/feed")));
    assert_eq!(
        config.mapping.succession_file.as_deref(),
        Some(Path::new("/etc/hoso/succession.csv"))
    );
    assert_eq!(config.sources[2].path.as_deref(), Some(Path::new("/srv/sftp/dat-dai")));
    assert_eq!(config.portal.answers_file.as_deref(), Some(Path::new("/etc/hoso/answers.toml")));
    assert_eq!(
        config.sources[1].password_file.as_deref(),
        Some(Path::new("/etc/hoso/cu_H03.password"))
    );
    assert_eq!(config.sources[0].token.get().unwrap().expose_secret(), "t");
    assert_eq!(config.portal.password.get().unwrap().expose_secret(), "p");
    assert_eq!(config.portal.bearer.client_secret.get().unwrap().expose_secret(), "s");
    // A key has lines, and is taken as it is.
    assert!(config.portal.client_key.get().unwrap().expose_secret().ends_with("k\n"));
    let tls = config.sources[0].tls("sources[0]");
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/etc/hoso/tls/province-ca.pem")));
}

#[test]
fn a_secret_comes_from_the_environment_then_the_file_then_systemd() {
    let everything = [
        ("HOSO_PORTAL_PASSWORD", "by variable"),
        ("HOSO_SOURCE_MOT_CUA_TOKEN", "token by variable"),
        ("HOSO_SOURCE_CU_H03_PASSWORD", "mật khẩu"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials"),
        ("HOSO_SOURCE_MOT_CUA_CLIENT_KEY", "a key by variable"),
        ("HOSO_PORTAL_CLIENT_SECRET", "a secret by variable"),
    ];
    let files = [
        ("portal.password", "by file\r\n"),
        ("/run/credentials/portal-password", "by systemd\n"),
        ("/run/credentials/source-mot-cua-token", "token by systemd"),
        ("tls/platform.key", "a key by file\n"),
    ];
    let portal = |text: &str, variables, files| {
        let config = Config::from_toml(text, "hoso.toml", &machine(variables, files)).unwrap();
        config.portal.password.get().map(|value| value.expose_secret().to_owned())
    };
    let value = |text: &str| Some(text.to_owned());
    let unnamed = MINIMAL.replace("password_file", "# password_file");
    assert_eq!(portal(MINIMAL, &everything, &files), value("by variable"));
    assert_eq!(portal(MINIMAL, &everything[3..4], &files), value("by file"));
    assert_eq!(portal(&unnamed, &everything[3..4], &files), value("by systemd"));
    assert_eq!(portal(&unnamed, &everything[3..4], &[]), None);
    // A file that was named and cannot be read is not replaced by another secret.
    assert_eq!(portal(MINIMAL, &everything[3..4], &files[1..]), None);

    let config = Config::from_toml(COMPLETE, "hoso.toml", &machine(&everything, &files)).unwrap();
    assert_eq!(config.sources[0].token.get().unwrap().expose_secret(), "token by variable");
    assert_eq!(config.sources[1].password.get().unwrap().expose_secret(), "mật khẩu");
    config.ready_to_run().unwrap();
    for shown in [format!("{config:?}"), config.effective_toml()] {
        for secret in ["by variable", "by file", "by systemd", "mật khẩu"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    for text in ["", MINIMAL, COMPLETE] {
        let shown = read(text).effective_toml();
        assert_eq!(read(&shown).effective_toml(), shown);
    }
    let shown = read(MINIMAL).effective_toml();
    assert!(
        shown.starts_with(
            "# In force, from hoso.toml and the defaults.\n\
             # ledger.key: not set\n\
             # portal.password: the file portal.password cannot be read: no such file\n"
        ),
        "{shown}"
    );
}

#[test]
fn a_daemon_needs_a_source_a_portal_and_every_secret() {
    let errors = read("").ready_to_run().unwrap_err().to_string();
    assert_eq!(
        errors,
        "hoso.toml: sources: there is no source to pull from\n  \
           hint: add a [[sources]] block with name and base_url, or name, kind and path\n\
         hoso.toml: portal.base_url: there is no portal to push to\n  \
           hint: http://<security server>:8080/XrdAdapter/RestService/forward\n\
         hoso.toml: portal.username: the portal needs an account\n\
         hoso.toml: portal.password_file: the password of the portal: not set\n  \
           hint: name a readable file here, or set HOSO_PORTAL_PASSWORD"
    );
    let files = [
        ("portal.password", "one\ntwo\n"),
        ("mot-cua.token", "\n"),
        ("tls/platform.key", " \n"),
        ("tls/gateway.key", "a key"),
    ];
    let config = Config::from_toml(COMPLETE, "hoso.toml", &machine(&[], &files)).unwrap();
    assert_eq!(
        config.ready_to_run().unwrap_err().to_string(),
        "hoso.toml: sources[0].token_file: the secret of source \"mot-cua\": the file mot-cua.token is empty\n  \
           hint: name a readable file here, or set HOSO_SOURCE_MOT_CUA_TOKEN\n\
         hoso.toml: sources[1].password_file: the secret of source \"cu_H03\": the file /etc/hoso/cu_H03.password cannot be read: no such file\n  \
           hint: name a readable file here, or set HOSO_SOURCE_CU_H03_PASSWORD\n\
         hoso.toml: portal.password_file: the password of the portal: the file portal.password holds more than one line, or control characters\n  \
           hint: name a readable file here, or set HOSO_PORTAL_PASSWORD\n\
         hoso.toml: portal.bearer.client_secret_file: the secret of the integration platform's account: the file platform.secret cannot be read: no such file\n  \
           hint: name a readable file here, or set HOSO_PORTAL_CLIENT_SECRET\n\
         hoso.toml: portal.client_key_file: the key of the client certificate: the file tls/platform.key is empty\n  \
           hint: name a readable file here, or set HOSO_PORTAL_CLIENT_KEY"
    );
}

#[test]
fn each_profile_asks_for_what_it_uses_and_for_nothing_else() {
    let ready = |portal: &str, variables: &[(&'static str, &'static str)]| {
        let text = format!(
            "[[sources]]\nname = 'a'\nbase_url = 'http://a.example.invalid'\n\
             [portal]\nbase_url = 'https://b.example.invalid'\n{portal}"
        );
        let config = Config::from_toml(&text, "hoso.toml", &machine(variables, &[])).unwrap();
        let told = config.ready_to_run().err().map(|errors| errors.to_string()).unwrap_or_default();
        for secret in ["s3cret", "t0ken"] {
            assert!(!format!("{config:?}{}", config.effective_toml()).contains(secret));
        }
        let keys: Vec<String> = told
            .lines()
            .filter_map(|line| line.strip_prefix("hoso.toml: ")?.split(": ").next())
            .map(str::to_owned)
            .collect();
        keys
    };
    assert_eq!(ready("", &[]), ["portal.username", "portal.password_file"]);
    assert!(ready("profile = 'wrapper'", &[]).is_empty());
    let header = "profile = 'wrapper'\nwrapper.auth = 'header'\nwrapper.auth_header = 'X-Key'";
    assert_eq!(ready(header, &[]), ["portal.wrapper.secret_file"]);
    assert!(ready(header, &[("HOSO_PORTAL_WRAPPER_SECRET", "s3cret")]).is_empty());
    let platform = ["portal.bearer.client_id", "portal.bearer.client_secret_file"];
    assert_eq!(ready("profile = 'bearer'", &[]), platform);
    let fixed = "profile = 'bearer'\nbearer.grant = 'fixed'";
    assert_eq!(ready(fixed, &[]), ["portal.bearer.token_file"]);
    assert!(ready(fixed, &[("HOSO_PORTAL_TOKEN", "t0ken")]).is_empty());
    let passes = format!("{fixed}\nbearer.login = 'login'");
    assert_eq!(
        ready(&passes, &[("HOSO_PORTAL_TOKEN", "t0ken")]),
        ["portal.username", "portal.password_file"]
    );
    let certificate = "profile = 'wrapper'\nclient_certificate_file = 'c.pem'";
    assert_eq!(ready(certificate, &[]), ["portal.client_key_file"]);
}

#[test]
fn a_configuration_is_named_by_its_options_and_not_by_how_they_are_written() {
    let plain = read("[push]\nconcurrency = 7\n");
    assert_eq!(plain.hash().len(), 64);
    assert_eq!(plain.hash(), read("# a remark\n[push]\nconcurrency = 7 # seven\n").hash());
    assert_ne!(plain.hash(), read("").hash());
    let secret = |value| {
        Config::from_toml(MINIMAL, "hoso.toml", &machine(&[("HOSO_PORTAL_PASSWORD", value)], &[]))
            .unwrap()
            .hash()
    };
    assert_eq!(secret("one"), secret("two"));
}

#[test]
fn what_only_a_restart_can_change_is_named() {
    let old = read("");
    assert!(
        read("[gate]\nheadroom = 0.1\n[log]\nlevel = 'debug'\n").needs_restart(&old).is_empty()
    );
    let new = "[ledger]\npath = '/x.db'\nsynchronous = 'normal'\n[log]\nformat = 'json'\n";
    assert_eq!(read(new).needs_restart(&old), ["ledger.path", "ledger.synchronous", "log.format"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = load(Some(Path::new("/etc/hoso.toml")), &Machine::default()).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "/etc/hoso.toml: the file cannot be read: no such file\n  hint: name another one with --config"
    );
}

#[test]
fn every_kind_of_mistake_is_told_with_its_place_and_what_to_do() {
    let source = "[[sources]]\nname = 'a'\nbase_url = 'http://a.example.invalid'\n";
    let with = |lines: &str| format!("{source}{lines}");
    let table: &[(String, &str)] = &[
        ("[push\n".into(), "hoso.toml:1:6: unclosed table, expected `]`"),
        ("[push]\nlease_ms = \n".into(), "hoso.toml:2:12: string values must be quoted, expected literal string"),
        ("[push]\nlease_ms = 1\nlease_ms = 2\n".into(), "hoso.toml:3:1: duplicate key"),
        ("[retri]\n".into(), "hoso.toml:1:2: retri: unknown key\n  hint: did you mean retry?"),
        (
            "[telemetry]\n".into(),
            "hoso.toml:1:2: telemetry: unknown key\n  hint: the sections are alarms, catalogue, gate, language, ledger, log, mapping, portal, problems, province, push, reconcile, resync, retention, retry, serve, sources, upkeep",
        ),
        (with("pol_ms = 1\n"), "hoso.toml:4:1: sources[0].pol_ms: unknown key\n  hint: did you mean poll_ms?"),
        ("[push]\ndrain_ms = 1\n".into(), "hoso.toml:2:1: push.drain_ms: unknown key\n  hint: it belongs to [serve]"),
        ("[log]\nvolatile_query_keys = []\n".into(), "hoso.toml:2:1: log.volatile_query_keys: unknown key\n  hint: it belongs to [[sources]]"),
        ("[push]\nxyzzy = 1\n".into(), "hoso.toml:2:1: push.xyzzy: unknown key\n  hint: `hoso config default` shows every option"),
        (
            "[portal]\npassword = 'hunter2'\n".into(),
            "hoso.toml:2:1: portal.password: a secret may not stand in the configuration file\n  hint: put it into a file that only the gateway can read, and name that file in password_file",
        ),
        (
            with("token = 'hunter2'\n"),
            "hoso.toml:4:1: sources[0].token: a secret may not stand in the configuration file\n  hint: put it into a file that only the gateway can read, and name that file in token_file",
        ),
        ("[push]\nlease_ms = '120000'\n".into(), "hoso.toml:2:12: push.lease_ms: expected a whole number, found a text\n  hint: write it without quotes"),
        ("[push]\nlease_ms = 1.5\n".into(), "hoso.toml:2:12: push.lease_ms: expected a whole number, found a number"),
        ("[push]\nlease_ms = -1\n".into(), "hoso.toml:2:12: push.lease_ms: the number is below 0"),
        ("[push]\nconcurrency = 5000000000\n".into(), "hoso.toml:2:15: push.concurrency: invalid value: integer `5000000000`, expected u32"),
        ("[mapping]\ntax_identity_type = 3\n".into(), "hoso.toml:2:21: mapping.tax_identity_type: expected a text, found a whole number\n  hint: write it in quotes"),
        ("[province]\ncodes = 'H55'\n".into(), "hoso.toml:2:9: province.codes: expected a list, found a text\n  hint: write it in square brackets"),
        ("[province]\ncodes = ['H55', 'H03', 3]\n".into(), "hoso.toml:2:24: province.codes[2]: expected a text, found a whole number\n  hint: write it in quotes"),
        ("[sources]\nname = 'a'\n".into(), "hoso.toml:1:1: sources: expected a list, found a section\n  hint: write the section's name in double brackets: each block is one of a list"),
        ("[[push]]\nlease_ms = 1\n".into(), "hoso.toml:1:1: push: expected a section, found a list\n  hint: write the section's name in single brackets"),
        ("[[sources]]\nname = 'a'\n".into(), "hoso.toml:1:1: sources[0].base_url: this block needs it and has no default for it"),
        ("[gate]\nheadroom = 0\n[[gate.windows]]\nlimit = 5\n".into(), "hoso.toml:3:1: gate.windows[0].window_ms: this block needs it and has no default for it"),
        ("[ledger]\nsynchronous = 'off'\n".into(), "hoso.toml:2:15: ledger.synchronous: unknown variant `off`, expected `full` or `normal`"),
        (
            with("start_from = '2026-02-01'\n"),
            "hoso.toml:4:14: sources[0].start_from: no point in time: write date and time of day, as \"2026-02-01T00:00:00+07:00\"; without a zone it is Vietnam time",
        ),
        (with("start_from = 2026-02-01T00:00:00+07:00\n"), "hoso.toml:4:14: sources[0].start_from: expected a text, found a date\n  hint: write it in quotes"),
        (with("path = '/srv/drop'\n"), "hoso.toml:4:8: sources[0].path: a source of kind \"feed\" has no such option\n  hint: remove it, or set kind = \"directory\""),
        (with("kind = 'directory'\npath = 'drop'\n"), "hoso.toml:3:12: sources[0].base_url: a source of kind \"directory\" has no such option\n  hint: remove it, or set kind = \"feed\""),
        ("[[sources]]\nname = 'a'\nkind = 'directory'\n".into(), "hoso.toml:1:1: sources[0].path: kind = \"directory\" needs a path\n  hint: the folder into which the files are dropped"),
        ("[[sources]]\nname = 'a'\nkind = 'directory'\npath = 'd'\nsettle_ms = 5\noverlap_ms = 1\n".into(), "hoso.toml:5:13: sources[0].settle_ms: 5 is not within 100 and 86400000\nhoso.toml:6:14: sources[0].overlap_ms: a source of kind \"directory\" has no such option\n  hint: remove it, or set kind = \"feed\""),
        ("[[sources]]\nname = 'a'\nkind = 'directory'\npath = 'd'\nunfinished_ms = 1000\n".into(), "hoso.toml:5:17: sources[0].unfinished_ms: a file would be rejected before it has settled\n  hint: raise it above settle_ms"),
        (with("poll_ms = 5\n"), "hoso.toml:4:11: sources[0].poll_ms: 5 is not within 100 and 86400000"),
        (with("user = 'u'\n"), "hoso.toml:4:8: sources[0].user: this auth does not use it\n  hint: set auth = \"basic\", or remove it"),
        (with("auth = 'basic'\n"), "hoso.toml:1:1: sources[0].user: auth = \"basic\" needs a user"),
        (with("page_bytes_max = 2048\n"), "hoso.toml:1:1: sources[0].item_bytes_max: a dossier may be larger than its page\n  hint: raise page_bytes_max, or lower this one"),
        (with("volatile_query_keys = ['t', '']\n"), "hoso.toml:4:29: sources[0].volatile_query_keys[1]: the key is empty"),
        (with(&source.replace("'a'", "'A'")), "hoso.toml:5:8: sources[1].name: another source is named \"a\"\n  hint: names differ by more than capitals and \"-\" or \"_\""),
        (source.replace("'a'", "'một cửa'"), "hoso.toml:2:8: sources[0].name: \"một cửa\" is no name for a source\n  hint: 1 to 32 letters, digits, \"-\" and \"_\", without marks"),
        (source.replace("http://", ""), "hoso.toml:3:12: sources[0].base_url: the address begins with neither https:// nor http://\n  hint: write it as https://host/path or http://host:port/path"),
        (source.replace("http://", "http://u:hunter2@"), "hoso.toml:3:12: sources[0].base_url: the address holds a user or a password\n  hint: leave them out; secrets have options of their own"),
        (source.replace("a.example.invalid", ":80"), "hoso.toml:3:12: sources[0].base_url: the address has no host"),
        (source.replace("invalid", "invalid/?k=1"), "hoso.toml:3:12: sources[0].base_url: the address has a query or a fragment\n  hint: end it with the path"),
        (source.replace("invalid", "invalid/ x"), "hoso.toml:3:12: sources[0].base_url: the address holds white space or characters that need escaping"),
        ("[province]\ncodes = ['H55', '55', 'H55']\n".into(), "hoso.toml:2:17: province.codes[1]: \"55\" is no first-level code\n  hint: a capital letter and two digits, as in QĐ 20/2020/QĐ-TTg, e.g. \"H55\"\nhoso.toml:2:23: province.codes[2]: \"H55\" stands here twice"),
        ("[province]\ncodes = []\n".into(), "hoso.toml:2:9: province.codes: without a code no dossier is ours\n  hint: write the province's first-level code, e.g. [\"H55\"]"),
        ("[province]\ncodes = ['H03']\n".into(), "hoso.toml:1:1: province.madonvi: its province H55 is not in province.codes"),
        ("[province]\nmadonvi = '55'\n".into(), "hoso.toml:2:11: province.madonvi: \"55\" is no agency code\n  hint: the connected agency's code, e.g. \"000.00.00.H55\""),
        ("[mapping]\ntax_identity_type = '1'\n".into(), "hoso.toml:2:21: mapping.tax_identity_type: 1 and 2 are the codes of identity cards\n  hint: leave it \"\" until the portal's operator names the code"),
        ("[mapping]\npassport_identity_type = 'P'\n".into(), "hoso.toml:2:26: mapping.passport_identity_type: \"P\" is no LoaiDinhDanh\n  hint: one or two digits"),
        ("[portal]\nauth_path = '/'\n".into(), "hoso.toml:2:13: portal.auth_path: the path is empty"),
        ("[portal]\nshare_path = 'http://x'\n".into(), "hoso.toml:2:14: portal.share_path: this is no path below portal.base_url\n  hint: e.g. \"mapi/login\""),
        ("[portal]\ndstcode = 'a b'\n".into(), "hoso.toml:2:11: portal.dstcode: this cannot be sent as a header\n  hint: VN:GOV:<agency>:<service>"),
        ("[gate.shares]\naudit = 0\n".into(), "hoso.toml:2:9: gate.shares.audit: 0 is not within 1 and 1000"),
        ("[portal]\nprofile = 'direct'\n".into(), "hoso.toml:2:11: portal.profile: unknown variant `direct`, expected one of `adapter`, `wrapper`, `bearer`"),
        (
            "[portal]\nbase_url = 'http://a.example.invalid'\nca_file = 'ca.pem'\n".into(),
            "hoso.toml:3:11: portal.ca_file: certificates are used with https only, and portal.base_url is http\n  hint: write that address with https://, or remove this option",
        ),
        (
            "[portal]\nprofile = 'wrapper'\nbase_url = 'https://a.example.invalid'\nca_file = 'ca.pem'\nwrapper.look_up = 'http://b.example.invalid/x'\n".into(),
            "hoso.toml:4:11: portal.ca_file: certificates are used with https only, and portal.wrapper.look_up is http\n  hint: write that address with https://, or remove this option",
        ),
        (
            with("client_certificate_file = 'c.pem'\n"),
            "hoso.toml:4:27: sources[0].client_certificate_file: certificates are used with https only, and sources[0].base_url is http\n  hint: write that address with https://, or remove this option",
        ),
        (
            "[portal]\nclient_key_file = 'k.pem'\n".into(),
            "hoso.toml:2:19: portal.client_key_file: there is no certificate that this key belongs to\n  hint: name the certificate in client_certificate_file",
        ),
        (
            "[portal.wrapper]\nupdating_key = ''\n".into(),
            "hoso.toml:2:16: portal.wrapper.updating_key: the wrapper could not tell creates from updates\n  hint: name the flag's query key, or give create and update addresses of their own",
        ),
        ("[portal.wrapper]\nsteps = '/'\n".into(), "hoso.toml:2:9: portal.wrapper.steps: the address is empty"),
        (
            "[portal.wrapper]\nsteps = 'ftp://x'\n".into(),
            "hoso.toml:2:9: portal.wrapper.steps: this is no address\n  hint: a path below portal.base_url, or a whole address with https:// or http://",
        ),
        (
            "[portal.wrapper]\nlook_up_key = 'a b'\n".into(),
            "hoso.toml:2:15: portal.wrapper.look_up_key: this cannot be the name of a parameter\n  hint: letters, digits, -, _ and .",
        ),
        (
            "[portal.wrapper]\nauth = 'header'\n".into(),
            "hoso.toml:1:1: portal.wrapper.auth_header: auth = \"header\" needs the header's name\n  hint: e.g. \"X-Api-Key\"",
        ),
        (
            "[portal.wrapper]\nsecret_file = 'x'\n".into(),
            "hoso.toml:2:15: portal.wrapper.secret_file: this auth does not use it\n  hint: set auth = \"bearer\" or \"header\", or remove it",
        ),
        (
            "[portal.wrapper]\nsecret = 'hunter2'\n".into(),
            "hoso.toml:2:1: portal.wrapper.secret: a secret may not stand in the configuration file\n  hint: put it into a file that only the gateway can read, and name that file in secret_file",
        ),
        (
            "[portal.bearer]\ntoken_fields = ['grant_type']\n".into(),
            "hoso.toml:2:17: portal.bearer.token_fields[0]: this is no field\n  hint: name=value, e.g. \"grant_type=client_credentials\"",
        ),
        (
            "[portal.bearer]\ntoken_file = 'x'\n".into(),
            "hoso.toml:2:14: portal.bearer.token_file: this grant does not use it\n  hint: set grant = \"fixed\", or remove it",
        ),
        ("[gate]\nheadroom = 1.5\n".into(), "hoso.toml:2:12: gate.headroom: 1.5 is not within 0 and 0.9"),
        ("[[gate.windows]]\nlimit = 5\nwindow_ms = 1000\nburst = 6\n".into(), "hoso.toml:4:9: gate.windows[0].burst: 6 is more than this window's limit\n  hint: 1 spaces the calls evenly, 0 chooses by the pace"),
        ("[gate]\nheadroom = 0.03\n[[gate.windows]]\nlimit = 1\nwindow_ms = 1000\n".into(), "hoso.toml:4:9: gate.windows[0].limit: gate.headroom leaves less than one call of it\n  hint: lower gate.headroom"),
        ("[[gate.windows]]\nlimit = 9\nwindow_ms = 1000\n[[gate.windows]]\nlimit = 8\nwindow_ms = 1000\n".into(), "hoso.toml:6:13: gate.windows[1].window_ms: another window has this length"),
        ("[gate]\nbreaker_cool_down_max_ms = 1\n".into(), "hoso.toml:2:28: gate.breaker_cool_down_max_ms: the longest cool-down is shorter than the first"),
        ("[push]\nlease_ms = 20000\n".into(), "hoso.toml:2:12: push.lease_ms: the lease may end while its call is on its way: it must exceed portal.timeout_ms (20000)\n  hint: six times portal.timeout_ms leaves time to wait for the gate"),
        ("[push]\nclaim_limit = 5\ndossiers_per_call = 6\n".into(), "hoso.toml:3:21: push.dossiers_per_call: a call may hold more dossiers than are taken at a time\n  hint: raise push.claim_limit"),
        ("[retry]\nmax_ms = 1000\n".into(), "hoso.toml:2:10: retry.max_ms: the longest wait is shorter than the first"),
        ("[retry]\nmultiplier = 0.5\n".into(), "hoso.toml:2:14: retry.multiplier: 0.5 is not within 1 and 10"),
        ("[reconcile]\nrepair = ['extra']\n".into(), "hoso.toml:2:11: reconcile.repair[0]: \"extra\" is no bucket that can be repaired\n  hint: one of missing, different"),
        ("[ledger]\npath = ''\n".into(), "hoso.toml:2:8: ledger.path: the ledger needs a file"),
        ("[alarms]\nworking_hours = '17:00-07:30'\n".into(), "hoso.toml:2:17: alarms.working_hours: the day ends before it begins\n  hint: e.g. \"07:30-17:00\""),
        ("[alarms]\nworking_days = ['mon', 'monday']\n".into(), "hoso.toml:2:24: alarms.working_days[1]: \"monday\" is no day\n  hint: one of mon, tue, wed, thu, fri, sat, sun"),
        ("[alarms]\nworking_days = []\n".into(), "hoso.toml:2:16: alarms.working_days: without a working day nothing is ever late\n  hint: e.g. [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]"),
        ("[alarms]\nholidays = ['2026-09-02']\n".into(), "hoso.toml:2:13: alarms.holidays[0]: \"2026-09-02\" is no day of the calendar\n  hint: each year \"0902\", or once \"20260902\""),
        ("[alarms]\ndisk_free_min_percent = 100\n".into(), "hoso.toml:2:25: alarms.disk_free_min_percent: 100 is not within 0 and 99"),
        ("[ledger]\nbody_retention_days = 90\n".into(), "hoso.toml:2:1: ledger.body_retention_days: this option has moved\n  hint: it is retention.bodies_days now; move the value there"),
        ("[ledger]\nold_key_file = 'k'\n".into(), "hoso.toml:2:16: ledger.old_key_file: an older key without a present one\n  hint: name the key in use in ledger.key_file"),
        ("[ledger]\nsize_budget_bytes = 5\n".into(), "hoso.toml:2:21: ledger.size_budget_bytes: 5 bytes hold no ledger\n  hint: 0 means no budget"),
        ("[retention]\naudit_days = 90\n".into(), "hoso.toml:2:14: retention.audit_days: 90 is not within 365 and 36500\n  hint: who did what is kept for twelve months at least"),
        ("[retention]\nbodies_days = 2000\n".into(), "hoso.toml:2:15: retention.bodies_days: 2000 days outlast what they belong to (retention.revisions_days = 1095)\n  hint: keep revisions at least as long"),
        ("[retention]\nrows_max = 1\n".into(), "hoso.toml:2:12: retention.rows_max: 1 is not within 100 and 100000"),
        ("[log]\nlevel = 'verbose'\n".into(), "hoso.toml:2:9: log.level: \"verbose\" is no level\n  hint: error, warn, info, debug or trace"),
    ];
    let mut differences = Vec::new();
    for (text, expected) in table {
        let told = wrong(text);
        assert!(!told.contains("hunter2"), "{told}");
        if told != *expected {
            differences.push(format!("{text}\ntold:\n{told}\nexpected:\n{expected}\n"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let told = wrong(
        "[log]\nformat = 'xml'\nlevel = 7\n\n[push]\nlease = 1\nconcurrency = 0\n\
         [retry]\njitter = 'x'\nattempts_max = 5000000000\nmax_ms = 1\n\
         [[sources]]\nname = ''\nkind = 'soap'\nauth = 'ntlm'\nbase_url = 'ftp://x'\n",
    );
    let keys: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("hoso.toml:"))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "log.format:",
            "log.level:",
            "push.lease:",
            "push.concurrency:",
            "retry.jitter:",
            "retry.attempts_max:",
            "retry.max_ms:",
            "sources[0].name:",
            "sources[0].kind:",
            "sources[0].auth:",
            "sources[0].base_url:",
        ]
    );
}

#[test]
fn several_syntax_errors_are_told_at_once_without_their_text() {
    assert_eq!(
        wrong("[portal]\npassword = hunter2\nusername = 'x\n[retry]\njitter = = 2\n"),
        "hoso.toml:2:12: string values must be quoted, expected literal string\n\
         hoso.toml:3:14: invalid literal string, expected `'`\n\
         hoso.toml:5:10: extra `=`, expected nothing"
    );
}

proptest! {
    #[test]
    fn no_file_makes_the_reader_panic(
        text in "(\\[\\[sources\\]\\]|\\[push\\]|\\[gate\\]|\\[\\[gate.windows\\]\\]|windows|sources|name|limit|lease_ms|codes|\\[province\\]| = |'x'|\\[\\]|\\{\\}|-1|99999999999999999999|1.5|nan|1979-05-27|\\.|\n|\n|ạ){0,20}"
    ) {
        if let Ok(config) = Config::from_toml(&text, "hoso.toml", &Machine::default()) {
            let shown = config.effective_toml();
            prop_assert_eq!(read(&shown).effective_toml(), shown);
        }
    }
}

#[test]
fn what_is_no_number_is_within_no_range() {
    assert_eq!(
        wrong("[retry]\nmultiplier = nan\njitter = inf\n"),
        "hoso.toml:2:14: retry.multiplier: NaN is not within 1 and 10\n\
         hoso.toml:3:10: retry.jitter: inf is not within 0 and 0.9"
    );
}

#[test]
fn what_is_wrong_with_a_catalogue_is_told_at_its_place() {
    let told = wrong(
        "[catalogue]\nrefresh_every_ms = 1000\nstale_after_ms = 10\ncalls_per_dossier = 2.0\n\
         versions_kept = 1\n",
    );
    for words in [
        "catalogue.refresh_every_ms: 1000 is not within 60000",
        "catalogue.stale_after_ms: a list would count as stale before it is fetched again",
        "catalogue.calls_per_dossier: 2 is not within 0 and 1",
        "catalogue.versions_kept: 1 is not within 2",
    ] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    assert!(wrong("[catalogue]\nunknown_fee = \"refuse\"\n").contains("unknown_fee"));
    // Turned off, no age is wrong.
    assert_eq!(
        read("[catalogue]\nrefresh_every_ms = 0\nstale_after_ms = 0\n").catalogue.refresh_every_ms,
        0
    );
}
