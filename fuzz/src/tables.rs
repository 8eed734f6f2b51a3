//! The CSV tables: code lists, successors, procedures, and the portal's words.

use std::collections::BTreeMap;
use std::path::Path;

use arbitrary::Unstructured;
use hoso_gateway::mapping::ProcedureTable;
use hoso_gateway::portal::AnswerPatterns;

use super::mappings::{self, LISTS, SUCCESSION};
use super::{edits, recipe, text};

const FEED: &str = include_str!("../../mappings/feed/mapping.toml");
const ANSWERS: &str = include_str!("../../mappings/portal/answers.csv");
const PROCEDURES: &str = "province_code,national_code,reviewed_by,reviewed_at,origin\n\
    2.999001.H55,2.000815,Trung tâm Dữ liệu,2026-01-20,\"QĐ 1/2026, phụ lục\"\n";
const STATUSES: usize = 1;

pub(super) fn seeds(_: &Path) -> Vec<Vec<u8>> {
    [LISTS[STATUSES].1, SUCCESSION, PROCEDURES, ANSWERS]
        .into_iter()
        .zip("abcd".bytes())
        .map(|(table, which)| [&[which], table.as_bytes()].concat())
        .collect()
}

/// The first byte says which table the rest is.
pub(super) fn check(bytes: &[u8]) {
    let (rest, is_recipe) = recipe(bytes).map_or((bytes, false), |rest| (rest, true));
    let Some((which, rest)) = rest.split_first() else { return };
    let table = |sample: &str| {
        if is_recipe {
            edits::edited(sample, &mut Unstructured::new(rest))
        } else {
            text(rest).into_owned()
        }
    };
    let mut lists = BTreeMap::from(LISTS);
    match which % 4 {
        1 => {
            let statuses = table(LISTS[STATUSES].1);
            lists.insert(LISTS[STATUSES].0, &statuses);
            mappings::take(FEED, &lists, SUCCESSION);
        }
        2 => mappings::take(FEED, &lists, &table(SUCCESSION)),
        3 => {
            let text = table(PROCEDURES);
            if let Err(errors) = ProcedureTable::parse("procedures.csv", &text) {
                mappings::assert_errors(&errors, &[&text]);
            }
        }
        _ => {
            let text = table(ANSWERS);
            if let Err(errors) = AnswerPatterns::parse("answers.csv", &text) {
                let lines = text.lines().count() as u64;
                assert!(!errors.problems.is_empty());
                for (line, problem) in &errors.problems {
                    assert!(*line <= lines && !problem.trim().is_empty(), "{line}: {problem}");
                }
            }
        }
    }
}
