//! Whether reading page after page still gets anywhere.

use std::collections::BTreeSet;

pub(super) const STUCK_CURSOR: &str = "source.stuck_cursor";

/// Pages in a row that hold nothing and promise more, before they are called endless.
const EMPTY_IN_A_ROW_MAX: u32 = 100;

/// The positions of one walk through a feed or an index.
pub(super) struct Way {
    seen: BTreeSet<String>,
    empty_in_a_row: u32,
}

impl Way {
    /// `start` is where the walk begins; `None` is the beginning of everything.
    pub(super) fn from(start: Option<&str>) -> Self {
        Self { seen: start.map(str::to_owned).into_iter().collect(), empty_in_a_row: 0 }
    }

    /// Takes one step, behind a page that promises more; says what is wrong when it leads nowhere.
    pub(super) fn goes_on(
        &mut self,
        cursor: Option<&str>,
        is_empty: bool,
    ) -> Result<(), &'static str> {
        self.empty_in_a_row = if is_empty { self.empty_in_a_row + 1 } else { 0 };
        let Some(cursor) = cursor else {
            return Err("the source says that there is more, and not where");
        };
        if !self.seen.insert(cursor.to_owned()) {
            return Err(
                "the source says that there is more, but its cursor comes back to where it was",
            );
        }
        if self.empty_in_a_row > EMPTY_IN_A_ROW_MAX {
            return Err("the source says that there is more, but page after page is empty");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_ends_where_its_cursor_stays_or_comes_back() {
        let mut way = Way::from(Some("a"));
        assert!(way.goes_on(Some("b"), false).is_ok());
        assert!(way.goes_on(Some("b"), false).is_err());
        assert!(way.goes_on(Some("a"), false).is_err());
        assert!(way.goes_on(None, false).is_err());
        assert!(way.goes_on(Some("c"), false).is_ok());
    }

    #[test]
    fn empty_pages_are_read_for_a_while() {
        let mut way = Way::from(None);
        for page in 0..EMPTY_IN_A_ROW_MAX {
            assert!(way.goes_on(Some(&page.to_string()), true).is_ok());
        }
        assert!(way.goes_on(Some("dossiers"), false).is_ok());
        for page in 0..EMPTY_IN_A_ROW_MAX {
            assert!(way.goes_on(Some(&format!("again {page}")), true).is_ok());
        }
        assert!(way.goes_on(Some("one more"), true).is_err());
    }
}
