//! Every documented exit code, from a run that earns it.

use std::fs;

use super::{copied, hoso, hoso_at, on, on_settled};

#[test]
fn two_for_a_wrong_command_line() {
    assert_eq!(hoso(&["bring", "--all"]).code, 2);
    let blank = on_settled(&["resync", "--code", "H55.242-260126-0001", "--reason", " "]);
    assert_eq!(blank.code, 2, "{}", blank.err);
    let nothing = on_settled(&["problems", "retry", "--reason", "x"]);
    assert_eq!(nothing.code, 2);
    assert!(nothing.err.contains("nothing was named"), "{}", nothing.err);
}

#[test]
fn three_for_a_wrong_configuration_with_every_problem_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hoso.toml"), "[ledger]\npath = 5\n\n[push]\nconcurrensy = 4\n")
        .unwrap();
    let ran = hoso_at(folder.path(), &["config", "check", "--config", "hoso.toml"]);
    assert_eq!(ran.code, 3);
    assert_eq!(ran.out, "");
    insta::assert_snapshot!(ran.err);
    let json = hoso_at(folder.path(), &["config", "check", "--config", "hoso.toml", "--json"]);
    assert_eq!(json.code, 3);
    assert_eq!(json.json()["problems"][0]["position"]["line"], 2);
}

#[test]
fn three_for_a_wrong_mapping_file_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("feed");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mapping.toml"), "root = \"HoSo\"\nfields = 3 =\n").unwrap();
    let ran = hoso_at(folder.path(), &["mapping", "check", "feed"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("feed/mapping.toml:2:"), "{}", ran.err);
    assert!(ran.err.contains("[mapping_file.syntax]"), "{}", ran.err);
}

#[test]
fn four_for_no_ledger_and_for_a_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hoso.toml"), "[ledger]\npath = \"ledger.db\"\n").unwrap();
    let none = on(folder.path(), &["status"]);
    assert_eq!(none.code, 4);
    assert!(none.err.contains("there is no ledger"), "{}", none.err);
    assert!(!folder.path().join("ledger.db").exists());
    fs::write(
        folder.path().join("ledger.db"),
        "Đây là một tệp văn bản, không phải sổ đối soát. ".repeat(40),
    )
    .unwrap();
    let other = on(folder.path(), &["status"]);
    assert_eq!(other.code, 4);
    assert!(other.err.starts_with("error[ledger.damaged]"), "{}", other.err);
}

#[test]
fn five_for_an_unknown_dossier_code_or_field() {
    let unknown = "H55.242-200101-9999";
    for arguments in [
        &["dossier", "show", unknown][..],
        &["dossier", "explain", unknown],
        &["dossier", "history", unknown],
        &["problems", "show", unknown],
        &["mapping", "explain", unknown],
        &["explain", "zebra"],
    ] {
        let ran = on_settled(arguments);
        assert_eq!(ran.code, 5, "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(ran.err.contains("\n\nhint: "), "{arguments:?}: {}", ran.err);
    }
    let copy = copied();
    let ran = on(copy.path(), &["resync", "--code", unknown, "--reason", "x"]);
    assert_eq!(ran.code, 5, "{}", ran.err);
}

#[test]
fn six_for_a_failing_mapping_case_with_a_readable_difference() {
    let folder = tempfile::tempdir().unwrap();
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    let dir = folder.path().join("feed");
    let case = dir.join("cases/normal");
    fs::create_dir_all(&case).unwrap();
    fs::create_dir(folder.path().join("codelists")).unwrap();
    fs::copy(from.join("feed/mapping.toml"), dir.join("mapping.toml")).unwrap();
    for list in fs::read_dir(from.join("codelists")).unwrap() {
        let list = list.unwrap();
        fs::copy(list.path(), folder.path().join("codelists").join(list.file_name())).unwrap();
    }
    fs::copy(from.join("feed/cases/normal/input.xml"), case.join("input.xml")).unwrap();
    let expected = fs::read_to_string(from.join("feed/cases/normal/expected.json")).unwrap();
    let mut expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    expected["dossier"]["TrangThaiHoSo"] = "x".into();
    fs::write(case.join("expected.json"), expected.to_string()).unwrap();
    let ran = hoso_at(folder.path(), &["mapping", "test", "feed"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.out.starts_with("FAILED  normal\n"), "{}", ran.out);
    assert!(ran.out.contains("dossier.TrangThaiHoSo: expected \"x\", found \""), "{}", ran.out);
}

#[test]
fn six_for_samples_with_elements_that_no_row_reads() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<DanhSachHoSo><HoSo><Mau>xanh</Mau></HoSo></DanhSachHoSo>";
    fs::write(folder.path().join("page.xml"), page).unwrap();
    let ran = hoso_at(folder.path(), &["mapping", "check", "--sample", "page.xml"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.out.contains("unused: Mau"), "{}", ran.out);
}

#[test]
fn three_for_certificate_files_that_cannot_be_used_with_file_and_reason() {
    use hoso_gateway::lab::certificates::{Authority, Validity};
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let authority = Authority::new("thử nghiệm").unwrap();
    let (one, other) = (
        authority.client("một", Validity::Good).unwrap(),
        authority.client("hai", Validity::Good).unwrap(),
    );
    write("ca.pem", &authority.certificate_pem());
    write("client.pem", &one.certificate_pem);
    write("client.key", &one.key_pem);
    write("other.key", &other.key_pem);
    write("not.pem", "no certificate at all\n");
    write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let check = |source: &str, portal: &str| {
        let text = format!(
            "[[sources]]\nname = 'a'\nbase_url = 'https://a.example.invalid'\n{source}\n\
             [portal]\nprofile = 'wrapper'\nbase_url = 'https://b.example.invalid'\n{portal}\n"
        );
        write("hoso.toml", &text);
        let ran = hoso_at(folder.path(), &["config", "check", "--config", "hoso.toml"]);
        (ran.code, ran.err)
    };
    let both = |certificate: &str, key: &str| {
        format!("client_certificate_file = '{certificate}'\nclient_key_file = '{key}'")
    };
    assert_eq!(check("ca_file = 'ca.pem'", &both("client.pem", "client.key")).0, 0);
    for (source, portal, told) in [
        (
            "ca_file = 'gone.pem'",
            String::new(),
            "sources[0].ca_file: gone.pem: the file cannot be read: ",
        ),
        (
            "ca_file = 'not.pem'",
            String::new(),
            "sources[0].ca_file: not.pem: there is no certificate in PEM form in it",
        ),
        ("ca_file = 'broken.pem'", String::new(), "sources[0].ca_file: broken.pem: "),
        (
            "",
            both("client.key", "client.key"),
            "portal.client_certificate_file: client.key: there is no certificate",
        ),
        (
            "",
            both("client.pem", "client.pem"),
            "portal.client_key_file: client.pem: there is no private key",
        ),
        (
            "",
            both("client.pem", "other.key"),
            "portal.client_key_file: other.key: the key does not belong to the certificate",
        ),
        (
            "",
            both("client.pem", "locked.key"),
            "portal.client_key_file: locked.key: the key is protected by a password",
        ),
    ] {
        let (code, said) = check(source, &portal);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(&format!("hoso.toml: {told}")), "{told}\n{said}");
        assert!(!said.contains("AAAA"), "{said}");
    }
}
