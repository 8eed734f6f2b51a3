//! How fast one core maps a dossier of about 5 KB, all checks included, beside a bare quick-xml
//! pass with unescaping over the same bytes. `cargo bench --bench mapping` ends with the ratio.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};
use hoso_gateway::mapping::{Mapping, Settings};
use hoso_gateway::xml::{Limits, Scanner};
use quick_xml::events::Event;
use quick_xml::reader::Reader;

/// The normal case of the feed with three documents instead of one: 5 KB.
fn dossier() -> String {
    let normal = include_str!("../mappings/feed/cases/normal/input.xml");
    let (before, rest) = normal.split_once("<TaiLieuNop>").expect("the case has a document");
    let (document, after) = rest.split_once("</TaiLieuNop>").expect("the document ends");
    let mut documents = String::new();
    for number in ["2", "3", "4"] {
        let document = document.replace("70012", &format!("7001{number}"));
        let document = document.replace("9f1c", &format!("9f1{number}"));
        documents.extend(["<TaiLieuNop>", &document, "</TaiLieuNop>\n"]);
    }
    format!("{before}{documents}{after}")
}

/// What no reader can do without: every tag, every text unescaped, every attribute.
fn bare_pass(xml: &str) -> usize {
    let mut reader = Reader::from_str(xml);
    let mut seen = 0;
    loop {
        match reader.read_event().expect("the case is well formed") {
            Event::Start(tag) | Event::Empty(tag) => {
                seen += tag.name().as_ref().len();
                for attribute in tag.attributes() {
                    let attribute = attribute.expect("the case has good attributes");
                    let value = quick_xml::escape::unescape(&attribute.value);
                    seen += value.expect("no unknown entities").len();
                }
            }
            Event::Text(text) => {
                let content = text.xml10_content();
                seen += quick_xml::escape::unescape(&content).expect("no unknown entities").len();
            }
            Event::Eof => return seen,
            _ => {}
        }
    }
}

fn scanner_pass(xml: &str) -> usize {
    let mut scanner = Scanner::new(xml, &Limits::default());
    let mut seen = 0;
    while let Some(event) = scanner.next().expect("the case is well formed") {
        seen += size_of_val(&event);
    }
    seen
}

/// Passes a second, the best of some rounds: other work on the machine only ever slows one down.
fn per_second(mut pass: impl FnMut()) -> f64 {
    const PASSES: u32 = 2_000;
    let best = (0..15)
        .map(|_| {
            let start = WallTime.start();
            for _ in 0..PASSES {
                pass();
            }
            WallTime.end(start)
        })
        .min()
        .unwrap_or(Duration::MAX);
    f64::from(PASSES) / best.as_secs_f64()
}

#[expect(clippy::print_stderr, reason = "the ratio is what this benchmark is for")]
fn main() {
    let settings = Settings { province_codes: vec!["H55".into()], ..Settings::default() };
    let mapping = Mapping::builtin(&settings).expect("the builtin mapping has no mistakes");
    let xml = dossier();
    assert!(mapping.map(&xml).dossier.is_some(), "the sample must be mapped");

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("one_dossier");
    group.throughput(Throughput::Bytes(xml.len() as u64));
    group.bench_function("bare_quick_xml", |b| b.iter(|| bare_pass(black_box(&xml))));
    group.bench_function("scanner", |b| b.iter(|| scanner_pass(black_box(&xml))));
    group.bench_function("map", |b| b.iter(|| mapping.map(black_box(&xml))));
    group.finish();

    let bare = per_second(|| {
        black_box(bare_pass(black_box(&xml)));
    });
    let map = per_second(|| {
        black_box(mapping.map(black_box(&xml)));
    });
    eprintln!(
        "\n{} bytes: {map:.0} dossiers/s mapped, {bare:.0}/s in a bare quick-xml pass, ratio {:.2}",
        xml.len(),
        map / bare
    );
}
