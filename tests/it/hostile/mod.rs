//! Every case of `fixtures/hostile`, through the real verbs, between the two laboratories.
//!
//! Each case is data: what comes, and where it must end. Sound dossiers stand beside every one of
//! them and must be delivered, whatever the case does.

mod case;
mod memory;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use case::{Case, Ends, Given};
use hoso_gateway::domain::diagnostic::Severity;
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::province::{Misbehaviour, MisbehaviourRule, Question, RawAnswer};
use hoso_gateway::ledger::view::{Problem, ProblemFilter, ProblemKind};

use crate::support::gateway::{Story, TestGateway};

/// Sound dossiers beside each case.
const SOUND: u32 = 4;

type Section = (&'static str, fn(&Case) -> bool);

/// The sections of the README's table.
const SECTIONS: [Section; 4] = [
    ("Documents", |case| matches!(case.given, Given::Page(_))),
    ("Dossiers", |case| matches!(case.given, Given::Dossier(_))),
    ("Feeds", |case| matches!(case.given, Given::Feed(_)) && !case.is_about_the_index()),
    ("Indexes", Case::is_about_the_index),
];

fn story(case: &Case) -> Story {
    let mut story = Story::of(SOUND);
    story.province.gzip = false;
    for (option, value) in &case.source {
        let option = match option.as_str() {
            "page_limit" => "page_limit",
            "page_bytes_max" => "page_bytes_max",
            "item_bytes_max" => "item_bytes_max",
            "overlap_ms" => "overlap_ms",
            other => panic!("{}: no option {other}", case.name),
        };
        story = story.set("source", option, &value.to_string());
    }
    story
}

async fn problems(gateway: &TestGateway) -> Vec<Problem> {
    gateway.context.ledger.problems(&ProblemFilter::default()).await.expect("problems")
}

fn assert_the_sound_ones_arrived(gateway: &TestGateway, name: &str) {
    let comparison = gateway.comparison();
    assert_eq!(comparison.matched, SOUND as usize, "{name}: {comparison:#?}");
    assert_eq!(comparison.steps_missing + comparison.steps_duplicated, 0, "{name}");
}

/// What became of one dossier, in the words of a case.
async fn fate(gateway: &TestGateway, code: &str, ends: &Ends) -> Result<(), String> {
    let views = gateway.context.ledger.dossier(code).await.expect("a view");
    let named = match ends {
        Ends::ItemRefused { named: false, .. } => "",
        _ => code,
    };
    let mut unread: Vec<Problem> = problems(gateway)
        .await
        .into_iter()
        .filter(|problem| problem.kind == ProblemKind::RefusedDocument && problem.ma_ho_so == named)
        .collect();
    if named.is_empty() {
        // Several cases may have no code; one of them is this.
        unread.dedup_by(|one, other| one.code == other.code);
    }
    let state = views.first().and_then(|view| view.newest_entry()).map(|entry| entry.state);
    match ends {
        Ends::ItemRefused { rule, .. } | Ends::PassedOver { rule } => {
            let rules: Vec<&str> = unread.iter().map(|problem| problem.code.as_str()).collect();
            if rules == [rule.as_str()] && views.is_empty() {
                return Ok(());
            }
            Err(format!("unreadable for {rules:?}, taken as {state:?}"))
        }
        Ends::Accepted { values } => {
            let view = views.first().ok_or(format!("never taken; unreadable: {unread:#?}"))?;
            let entry = view.newest_entry().expect("an entry");
            if entry.state != EntryState::Accepted {
                return Err(format!(
                    "{:?}: {:#?} {:#?}",
                    entry.state, entry.failure, entry.diagnostics
                ));
            }
            let packets =
                gateway.context.ledger.acked_packets(&[view.dossier_id]).await.expect("packets");
            let packet: serde_json::Value =
                serde_json::from_str(&packets[0].1).expect("a packet is JSON");
            for (field, wanted) in values {
                let sent = packet[field].as_str().map(str::to_owned);
                let sent = sent.unwrap_or_else(|| packet[field].to_string());
                if sent != *wanted {
                    return Err(format!("{field} was sent as {sent:?}"));
                }
            }
            Ok(())
        }
        Ends::Quarantined { diagnostics } => {
            let entry = views.first().and_then(|view| view.newest_entry());
            let entry = entry.ok_or(format!("never taken; unreadable: {unread:#?}"))?;
            let mut found: Vec<String> = entry
                .diagnostics
                .iter()
                .filter(|found| found.severity == Severity::Error)
                .map(|found| match found.target.as_str() {
                    "" => format!("{} {}", found.rule, found.source_path),
                    target => format!("{} {target}", found.rule),
                })
                .collect();
            found.sort();
            let mut wanted = diagnostics.clone();
            wanted.sort();
            if entry.state == EntryState::Quarantined && found == wanted {
                return Ok(());
            }
            Err(format!("{:?} with {found:?}", entry.state))
        }
        _ => Err("no ending of a dossier".to_owned()),
    }
}

/// A code of the province for the case of this number.
fn code(number: usize) -> String {
    format!("H55.242-260126-{:04}", 1000 + number)
}

async fn run_dossiers(cases: &[Case]) -> Vec<String> {
    let gateway = story(&cases[0]).start().await;
    let mut codes = BTreeMap::new();
    let mut spoiling = 0;
    for (number, case) in cases.iter().enumerate() {
        let Given::Dossier(change) = &case.given else { unreachable!("only dossiers") };
        let code = change.code.clone().unwrap_or_else(|| code(number));
        gateway.province.put_raw(&change.write(&code)).expect("a dossier");
        spoiling += u64::from(matches!(case.ends, Ends::PassedOver { .. }));
        codes.insert(case.name.clone(), code);
    }
    let report = gateway.pull().await.expect("a poll");
    let mut wrong = Vec::new();
    if report.passed_over != spoiling || !report.caught_up {
        wrong.push(format!("{} were passed over instead of {spoiling}", report.passed_over));
    }
    gateway.settle().await;
    for case in cases {
        if let Err(found) = fate(&gateway, codes[&case.name].trim(), &case.ends).await {
            wrong.push(format!("{}: {found}", case.name));
        }
    }
    assert_the_sound_ones_arrived(&gateway, &cases[0].name);
    gateway.end().await;
    wrong
}

#[tokio::test]
async fn dossiers_that_stand_together_in_one_feed_each_end_where_they_belong() {
    let cases: Vec<Case> = case::all()
        .into_iter()
        .filter(|case| matches!(case.given, Given::Dossier(_)) && !case.is_large())
        .collect();
    let wrong = run_dossiers(&cases).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn documents_each_end_where_they_belong() {
    let mut wrong = Vec::new();
    for case in case::all() {
        let Given::Page(page) = &case.given else { continue };
        let gateway = story(&case).start().await;
        let bytes = std::fs::read(case::folder().join(&page.file)).expect("a document");
        gateway.province.answer_with(RawAnswer {
            on: Question::Changes,
            times: None,
            content_type: page.content_type.clone(),
            bytes: bytes.into(),
        });
        let pulled = gateway.pull().await;
        if let Ends::PageRefused { rule } = &case.ends {
            let found = pulled.as_ref().err().map(|failure| failure.code.as_str());
            if found != Some(rule) {
                wrong.push(format!("{}: {pulled:?}", case.name));
            }
            let kept: Vec<String> =
                problems(&gateway).await.into_iter().map(|problem| problem.code).collect();
            if kept != [rule.as_str()] || !gateway.standing().await.dossiers.is_empty() {
                wrong.push(format!("{}: kept as {kept:?}, or partly taken", case.name));
            }
        } else {
            if pulled.is_err() {
                wrong.push(format!("{}: {pulled:?}", case.name));
            }
            gateway.map().await;
            gateway.push().await;
            if let Err(found) = fate(&gateway, "H55.242-260126-0001", &case.ends).await {
                wrong.push(format!("{}: {found}", case.name));
            }
        }
        gateway.province.clear_misbehaviour();
        gateway.settle().await;
        assert_the_sound_ones_arrived(&gateway, &case.name);
        let unread = problems(&gateway).await;
        let stands = unread.iter().any(|problem| problem.kind == ProblemKind::RefusedDocument);
        if stands && !matches!(case.ends, Ends::ItemRefused { .. }) {
            wrong.push(format!("{}: still a problem when the source is mended", case.name));
        }
        gateway.end().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn feeds_each_end_where_they_belong() {
    let mut wrong = Vec::new();
    for case in case::all() {
        let Given::Feed(rules) = &case.given else { continue };
        if case.is_about_the_index() {
            continue;
        }
        let gateway = story(&case).start().await;
        for rule in rules {
            gateway.province.misbehave(rule.clone());
        }
        match &case.ends {
            Ends::SourceWaits { rule } | Ends::PageRefused { rule } => {
                let pulled = gateway.pull().await;
                let found = pulled.as_ref().err().map(|failure| failure.code.as_str());
                if found != Some(rule) {
                    wrong.push(format!("{}: {pulled:?}", case.name));
                }
                let standing = gateway.standing().await;
                let kept = standing.refused_documents == 1;
                if kept != matches!(case.ends, Ends::PageRefused { .. }) {
                    wrong.push(format!("{}: evidence kept: {kept}", case.name));
                }
                gateway.province.clear_misbehaviour();
            }
            Ends::DeliveredBut { quarantined } => {
                let counts = gateway.pull_and_map().await.counts;
                if counts.quarantined != *quarantined {
                    wrong.push(format!("{}: {counts:?}", case.name));
                }
                gateway.province.clear_misbehaviour();
            }
            Ends::Delivered => gateway.settle().await,
            other => panic!("{}: no ending of a feed: {other:?}", case.name),
        }
        gateway.settle().await;
        assert_the_sound_ones_arrived(&gateway, &case.name);
        if !gateway.comparison().is_clean() || gateway.standing().await.refused_documents > 0 {
            wrong.push(format!("{}: {:#?}", case.name, gateway.comparison()));
        }
        gateway.end().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn indexes_that_lie_give_no_books_rather_than_false_ones() {
    let mut wrong = Vec::new();
    for case in case::all().into_iter().filter(Case::is_about_the_index) {
        let Given::Feed(rules) = &case.given else { unreachable!("only feeds") };
        let gateway = story(&case).start().await;
        gateway.settle().await;
        for rule in rules {
            gateway.province.misbehave(rule.clone());
        }
        let books = gateway.try_reconcile().await;
        match (&case.ends, &books) {
            (Ends::NoBooks { rule }, Err(failure)) if failure.code == *rule => {
                let standing = gateway.standing().await;
                if !standing.open_discrepancies.is_empty() || !standing.last_books.is_empty() {
                    wrong.push(format!("{}: {standing:#?}", case.name));
                }
            }
            (Ends::Delivered, Ok(books)) if books.closed && books.matched == u64::from(SOUND) => {}
            _ => wrong.push(format!("{}: {books:?}", case.name)),
        }
        gateway.province.clear_misbehaviour();
        let books = gateway.reconcile().await;
        assert!(books.closed && books.matched == u64::from(SOUND), "{}: {books:?}", case.name);
        gateway.assert_delivered();
        gateway.end().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of an index whose second page cannot be read, the first one alone would call the rest lost.
#[tokio::test]
async fn the_first_page_of_an_index_alone_gives_no_books() {
    let gateway = Story::of(SOUND).set("source", "page_limit", "3").start().await;
    gateway.settle().await;
    let last = gateway.province.expected().pop().expect("a dossier").code;
    let rule = MisbehaviourRule::until_cleared(Misbehaviour::MismatchedTag);
    gateway.province.misbehave(rule.on(Question::Index).of_dossier(&last));
    assert_eq!(gateway.try_reconcile().await.unwrap_err().code, "source.not_xml");
    assert!(gateway.standing().await.open_discrepancies.is_empty());
    gateway.province.clear_misbehaviour();
    assert_eq!(gateway.reconcile().await.matched, u64::from(SOUND));
    gateway.end().await;
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asked for by hand, to write the table anew")]
fn the_readme_says_of_every_case_where_it_ends() {
    let mut table = String::new();
    let cases = case::all();
    for (title, belongs) in SECTIONS {
        writeln!(table, "\n### {title}\n\n| Case | Shows | Ends |\n|---|---|---|").unwrap();
        for case in cases.iter().filter(|case| belongs(case)) {
            let (name, shows, ends) = (&case.name, &case.shows, case.ends.words());
            writeln!(table, "| `{name}` | {shows} | {ends} |").unwrap();
        }
    }
    let path = case::folder().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let (before, _) = readme.split_once("\n### ").expect("a table");
    let wanted = format!("{before}{table}");
    if std::env::var_os("HOSTILE_TABLE").is_some() {
        std::fs::write(&path, &wanted).expect("the README");
    }
    assert!(
        readme == wanted,
        "the table is not that of the cases; HOSTILE_TABLE=1 cargo test --test it readme writes it"
    );
}

#[test]
fn every_document_belongs_to_a_case() {
    let cases = case::all();
    for entry in std::fs::read_dir(case::folder()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_used = path.extension().is_some_and(|extension| extension == "toml")
            || name == "README.md"
            || cases
                .iter()
                .any(|case| matches!(&case.given, Given::Page(page) if page.file == name));
        assert!(is_used, "fixtures/hostile/{name} belongs to no case");
    }
}
