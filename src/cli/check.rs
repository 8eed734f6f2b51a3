//! `hoso status --check`: one line and an exit code, for a monitoring system.

use std::time::Duration;

use serde::Serialize;

use super::failure::Failure;
use super::serve::short;
use super::status::{broken, broken_words, full_soon};
use super::{Invocation, build, words};
use crate::clock::{Clock, SystemClock};
use crate::config::{Alarms, Config};
use crate::domain::time::{Timestamp, span};
use crate::ledger::view::Health;
use crate::ledger::watch::Watchdog;
use crate::machine::{DiskRoom, disk_room};

/// The lag is that of the dossiers that were synchronised in this time.
const LAG_OVER: Duration = Duration::from_hours(1);

/// How bad it is; monitoring systems know these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    Ok,
    Warning,
    Critical,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Alarm {
    level: Level,
    /// Stable name of what is judged, e.g. `lag_p95`.
    about: &'static str,
    words: String,
}

#[derive(Debug, Serialize)]
struct Checked {
    level: Level,
    at: Timestamp,
    /// The line that is printed without --json.
    line: String,
    /// The most pressing first.
    alarms: Vec<Alarm>,
    #[serde(flatten)]
    health: Health,
    watchdogs: Vec<Watchdog>,
    /// Working time since the oldest change on its way arrived.
    oldest_working_ms: u64,
    /// Of the ledger's disk; absent when it could not be asked.
    disk_free_bytes: Option<u64>,
    disk_free_percent: Option<u64>,
    /// The ledger's file with its journal.
    ledger_bytes: u64,
    /// Until disk or budget are full; only if that is soon.
    full_in_days: Option<u64>,
}

pub(super) async fn run(invocation: &Invocation, config: &Config) -> Result<(), Failure> {
    let ledger = build::existing_ledger(config).await?;
    let now = SystemClock::new().now();
    let health = ledger.health(now, now - LAG_OVER).await;
    let sizes = ledger.room(now).await;
    let watchdogs = ledger.watchdogs().await;
    ledger.close().await;
    let sizes = sizes?;
    let room = Room {
        disk: disk_room(&config.ledger.path).ok(),
        ledger_bytes: sizes.file_bytes + sizes.journal_bytes,
        full_in_days: full_soon(&sizes, config.ledger.size_warn_days),
    };
    let checked = judge(&config.alarms, health?, watchdogs?, now, room);
    let level = checked.level;
    invocation.output.result(&checked, |checked| checked.line.clone());
    if level == Level::Ok { Ok(()) } else { Err(Failure::findings()) }
}

/// Where the ledger lies, and how long it may grow there.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Absent when the disk could not be asked.
    disk: Option<DiskRoom>,
    ledger_bytes: u64,
    /// Only if that is soon.
    full_in_days: Option<u64>,
}

fn judge(
    limits: &Alarms,
    health: Health,
    watchdogs: Vec<Watchdog>,
    now: Timestamp,
    room: Room,
) -> Checked {
    let worked = health
        .oldest_unsynchronised_at
        .map_or(Duration::ZERO, |at| limits.working_time().between(at, now));
    let mut alarms: Vec<Alarm> = broken(&watchdogs)
        .map(|watchdog| Alarm {
            level: Level::Critical,
            about: "watchdog",
            words: broken_words(watchdog),
        })
        .collect();
    delivery(limits, &health, now, worked, &mut alarms);
    sources_and_books(limits, &health, now, &mut alarms);
    disk_alarms(limits, room, &mut alarms);
    // Stable: equals keep the order in which they are looked at.
    alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.level));
    let level = alarms.first().map_or(Level::Ok, |alarm| alarm.level);
    let mut line = format!("{}: ", level.word());
    if !alarms.is_empty() {
        let said: Vec<&str> = alarms.iter().map(|alarm| alarm.words.as_str()).collect();
        line.push_str(&said.join("; "));
        line.push_str(" - ");
    }
    line.push_str(&figures(&health, now, room));
    Checked {
        level,
        at: now,
        line,
        alarms,
        health,
        watchdogs,
        oldest_working_ms: u64::try_from(worked.as_millis()).unwrap_or(u64::MAX),
        disk_free_bytes: room.disk.map(|disk| disk.free_bytes),
        disk_free_percent: room.disk.map(DiskRoom::free_percent),
        ledger_bytes: room.ledger_bytes,
        full_in_days: room.full_in_days,
    }
}

fn delivery(
    limits: &Alarms,
    health: &Health,
    now: Timestamp,
    worked: Duration,
    alarms: &mut Vec<Alarm>,
) {
    let mut alarm = |level, about, words| alarms.push(Alarm { level, about, words });
    if health.gate_owner.is_none() {
        let words = "nobody owns the gate, nothing is sent".to_owned();
        alarm(Level::Critical, "gate_owner", words);
    } else if let Some(pause) = &health.pause
        && now.since(pause.since) > ms(limits.pause_max_ms)
    {
        let since = span(now.since(pause.since));
        let words = format!("not sending for {since}: {}", pause.failure.code);
        alarm(Level::Critical, "pause", words);
    }
    if worked > ms(limits.oldest_working_ms) {
        let words = format!("the oldest change is on its way for {} of working time", span(worked));
        alarm(Level::Warning, "oldest", words);
    }
    for (about, name, lag, limit) in [
        ("lag_p95", "p95", health.lag.p95_ms, limits.lag_p95_ms),
        ("lag_p99", "p99", health.lag.p99_ms, limits.lag_p99_ms),
    ] {
        if let Some(lag) = lag.filter(|lag| *lag > limit) {
            let words = format!("lag {name} {} is above {}", span(ms(lag)), span(ms(limit)));
            alarm(Level::Warning, about, words);
        }
    }
    if health.problems > limits.problems_max {
        let verb = if health.problems == 1 { "needs" } else { "need" };
        let words = format!("{} {verb} a person", words::thousands(health.problems));
        alarm(Level::Warning, "problems", words);
    }
}

fn sources_and_books(limits: &Alarms, health: &Health, now: Timestamp, alarms: &mut Vec<Alarm>) {
    let mut alarm = |level, about, words| alarms.push(Alarm { level, about, words });
    for source in &health.sources {
        let failing = source.failing_since.map(|since| now.since(since));
        if let Some(failing) = failing.filter(|f| *f > ms(limits.source_failing_max_ms)) {
            let code = source.failure.as_ref().map_or("", |failure| failure.code.as_str());
            let words = format!("source {} fails for {}: {code}", source.name, span(failing));
            alarm(Level::Critical, "source", words);
        }
        let books = health.books.iter().find(|books| books.source == source.name);
        match books {
            Some(books) if !books.closed => {
                let which = match books.unbalanced.as_slice() {
                    [] => String::new(),
                    rows => format!(": {}", rows.join(", ")),
                };
                let words = format!("the books of {} did not close{which}", source.name);
                alarm(Level::Warning, "books", words);
            }
            Some(books) if now.since(books.ended_at) > ms(limits.books_age_max_ms) => {
                let age = span(now.since(books.ended_at));
                let words = format!("the books of {} are {age} old", source.name);
                alarm(Level::Warning, "books", words);
            }
            // The first books are closed an hour after the first start.
            None if health
                .in_force
                .as_ref()
                .is_some_and(|running| now.since(running.since) > ms(limits.books_age_max_ms)) =>
            {
                let words = format!("the books of {} were never closed", source.name);
                alarm(Level::Warning, "books", words);
            }
            _ => {}
        }
    }
}

fn disk_alarms(limits: &Alarms, room: Room, alarms: &mut Vec<Alarm>) {
    let mut alarm = |level, about, words| alarms.push(Alarm { level, about, words });
    match room.disk {
        None => {
            let words = "the ledger's disk cannot be asked".to_owned();
            alarm(Level::Warning, "disk", words);
        }
        Some(disk)
            if disk.free_percent() < limits.disk_free_min_percent
                || disk.free_bytes < limits.disk_free_min_bytes =>
        {
            let (free, percent) = (bytes(disk.free_bytes), disk.free_percent());
            let words = format!("{free} ({percent} %) left on the ledger's disk");
            alarm(Level::Critical, "disk", words);
        }
        Some(_) => {}
    }
    if let Some(days) = room.full_in_days {
        let words = format!("the ledger's room ends in {}", words::count(days, "day"));
        alarm(Level::Warning, "room", words);
    }
}

fn figures(health: &Health, now: Timestamp, room: Room) -> String {
    let mut parts = vec![match health.books.iter().min_by_key(|books| books.ended_at) {
        None => "no books yet".to_owned(),
        Some(oldest) => {
            let closed = health.books.iter().all(|books| books.closed);
            format!(
                "books {} {}",
                if closed { "closed" } else { "open" },
                oldest.ended_at.short(now)
            )
        }
    }];
    parts.push(match (health.lag.p95_ms, health.lag.p99_ms) {
        (Some(p95), Some(p99)) => format!(
            "lag p95 {}, p99 {} of {} in 1 h",
            span(ms(p95)),
            span(ms(p99)),
            words::count(health.lag.dossiers, "dossier")
        ),
        _ => "no change synchronised in 1 h".to_owned(),
    });
    parts.push(match health.oldest_unsynchronised_at {
        Some(at) => format!("oldest on its way {}", span(now.since(at))),
        None => "nothing on its way".to_owned(),
    });
    parts.push(match (&health.gate_owner, &health.pause) {
        (None, _) => "gate without owner".to_owned(),
        (Some(_), Some(pause)) => format!("gate closed ({})", pause.failure.code),
        (Some(_), None) => "gate open".to_owned(),
    });
    parts.push(words::count(health.problems, "problem"));
    if let Some(disk) = room.disk {
        parts.push(format!("disk {} free ({} %)", bytes(disk.free_bytes), disk.free_percent()));
    }
    parts.push(format!("ledger {}", bytes(room.ledger_bytes)));
    if let Some(in_force) = &health.in_force {
        parts.push(format!("configuration {}", short(&in_force.hash)));
    }
    parts.join("; ")
}

/// Decimal units, as disks are sold.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};
    use crate::domain::failure::{Disposition, Failure as Cause};
    use crate::ledger::view::{BooksStanding, Lag, Pause, SourceStanding};

    struct Nothing;

    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn read(&self, _: &std::path::Path) -> std::io::Result<String> {
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file"))
        }
    }

    const DISK: DiskRoom = DiskRoom { free_bytes: 40_100_000_000, total_bytes: 50_000_000_000 };

    fn monday(time: &str) -> Timestamp {
        Timestamp::from_iso(&format!("2026-01-26T{time}")).unwrap()
    }

    fn well() -> Health {
        Health {
            lag: Lag {
                dossiers: 1204,
                p50_ms: Some(1_000),
                p95_ms: Some(3_000),
                p99_ms: Some(9_000),
            },
            oldest_unsynchronised_at: Some(monday("08:59:48")),
            gate_owner: Some("hoso serve, process 1".to_owned()),
            sources: vec![SourceStanding {
                name: "mot-cua".to_owned(),
                polled_at: None,
                caught_up_at: None,
                failing_since: None,
                failure: None,
            }],
            books: vec![BooksStanding {
                source: "mot-cua".to_owned(),
                ended_at: monday("04:00:00"),
                closed: true,
                unbalanced: Vec::new(),
            }],
            ..Health::default()
        }
    }

    fn said(health: Health, disk: DiskRoom) -> String {
        let limits = load(None, &Nothing).unwrap().alarms;
        let room = Room { disk: Some(disk), ledger_bytes: 1_234_567_890, full_in_days: None };
        judge(&limits, health, Vec::new(), monday("09:00:00"), room).line
    }

    #[test]
    fn a_service_that_is_well_says_so_with_its_figures() {
        assert_eq!(
            said(well(), DISK),
            "OK: books closed 04:00; lag p95 3 s, p99 9 s of 1,204 dossiers in 1 h; oldest on its way \
             12 s; gate open; 0 problems; disk 40.1 GB free (80 %); ledger 1.2 GB"
        );
    }

    #[test]
    fn room_that_ends_soon_is_said_before_the_disk_is_full() {
        let limits = load(None, &Nothing).unwrap().alarms;
        let room = Room { disk: Some(DISK), ledger_bytes: 0, full_in_days: Some(20) };
        let line = judge(&limits, well(), Vec::new(), monday("09:00:00"), room).line;
        assert!(line.starts_with("WARNING: the ledger's room ends in 20 days - "), "{line}");
    }

    #[test]
    fn a_broken_promise_is_critical_and_leads() {
        let limits = load(None, &Nothing).unwrap().alarms;
        let room = Room { disk: Some(DISK), ledger_bytes: 0, full_in_days: None };
        let broken = Watchdog {
            code: "watchdog.quota".to_owned(),
            part: "20 calls in 1 s".to_owned(),
            found: 3,
            ..Watchdog::default()
        };
        let checked = judge(&limits, well(), vec![broken], monday("09:00:00"), room);
        let expected =
            "CRITICAL: BROKEN watchdog.quota 20 calls in 1 s (3): hoso explain watchdog.quota - ";
        assert!(checked.line.starts_with(expected), "{}", checked.line);
    }

    #[test]
    fn each_limit_raises_its_alarm_and_the_most_pressing_one_leads() {
        let failure = Cause::new("portal.credentials", Disposition::Environment, "refused");
        let table: Vec<(&str, Health, DiskRoom)> = vec![
            (
                "CRITICAL: nobody owns the gate, nothing is sent - ",
                Health { gate_owner: None, ..well() },
                DISK,
            ),
            (
                "CRITICAL: not sending for 6 min: portal.credentials - ",
                Health {
                    pause: Some(Pause { since: monday("08:54:00"), failure: failure.clone() }),
                    ..well()
                },
                DISK,
            ),
            (
                "OK: books",
                Health {
                    pause: Some(Pause { since: monday("08:56:00"), failure: failure.clone() }),
                    ..well()
                },
                DISK,
            ),
            (
                "WARNING: the oldest change is on its way for 65 min of working time - ",
                Health { oldest_unsynchronised_at: Some(monday("07:55:00")), ..well() },
                DISK,
            ),
            // Since Friday evening, but people have worked for an hour and a half only.
            (
                "WARNING: the oldest change is on its way for 90 min of working time - ",
                Health {
                    oldest_unsynchronised_at: Timestamp::from_iso("2026-01-23T20:00:00"),
                    ..well()
                },
                DISK,
            ),
            (
                "WARNING: lag p95 61 s is above 60 s; lag p99 6 min is above 5 min - ",
                Health {
                    lag: Lag {
                        dossiers: 9,
                        p50_ms: Some(1_000),
                        p95_ms: Some(61_000),
                        p99_ms: Some(360_000),
                    },
                    ..well()
                },
                DISK,
            ),
            ("WARNING: 1 needs a person - ", Health { problems: 1, ..well() }, DISK),
            (
                "CRITICAL: source mot-cua fails for 11 min: source.unreachable - ",
                Health {
                    sources: vec![SourceStanding {
                        failing_since: Some(monday("08:49:00")),
                        failure: Some(Cause::new(
                            "source.unreachable",
                            Disposition::Retryable,
                            "x",
                        )),
                        ..well().sources.remove(0)
                    }],
                    ..well()
                },
                DISK,
            ),
            (
                "WARNING: the books of mot-cua did not close: day 20260126, agency H55 - ",
                Health {
                    books: vec![BooksStanding {
                        closed: false,
                        unbalanced: vec!["day 20260126".into(), "agency H55".into()],
                        ..well().books.remove(0)
                    }],
                    ..well()
                },
                DISK,
            ),
            (
                "WARNING: the books of mot-cua are 27 h old - ",
                Health {
                    books: vec![BooksStanding {
                        ended_at: monday("06:00:00") - Duration::from_hours(24),
                        ..well().books.remove(0)
                    }],
                    ..well()
                },
                DISK,
            ),
            ("OK: no books yet", Health { books: Vec::new(), ..well() }, DISK),
            (
                "CRITICAL: 4.9 GB (9 %) left on the ledger's disk - ",
                well(),
                DiskRoom { free_bytes: 4_900_000_000, ..DISK },
            ),
            (
                "CRITICAL: 900 MB (90 %) left on the ledger's disk - ",
                well(),
                DiskRoom { free_bytes: 900_000_000, total_bytes: 1_000_000_000 },
            ),
            (
                "CRITICAL: nobody owns the gate, nothing is sent; 2 need a person - ",
                Health { gate_owner: None, problems: 2, ..well() },
                DISK,
            ),
        ];
        for (expected, health, disk) in table {
            let said = said(health, disk);
            assert!(said.starts_with(expected), "{said}\nexpected:\n{expected}");
        }
    }
}
