//! What the portal really does, as its answers to our own calls show: when two answers say the same, and
//! when something that it used to do has ended.

/// Look-ups in a row that must lack a field before it counts as gone.
const GONE_AFTER: u64 = 20;
/// As many must have shown it before.
const SHOWN_MIN: u64 = 20;
/// Of the look-ups before, this share in percent must have shown it: what only some dossiers have may
/// be absent for long.
const STEADY_PERCENT: u64 = 90;
/// Longer words of the portal differ in what they quote, not in what they say.
const WORDS_MAX: usize = 160;

/// The portal's words without what differs from call to call: numbers, and spaces.
pub fn same_words(message: &str) -> String {
    let mut words = String::new();
    for word in message.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        let mut is_in_number = false;
        for letter in word.chars() {
            let is_digit = letter.is_ascii_digit();
            if !is_digit {
                words.push(letter);
            } else if !is_in_number {
                words.push('#');
            }
            is_in_number = is_digit;
        }
        if words.len() > WORDS_MAX {
            words.truncate(words.floor_char_boundary(WORDS_MAX));
            words.push('…');
            break;
        }
    }
    words
}

/// How one field stands in what look-ups show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Echoing {
    /// Look-ups that showed it.
    pub shown: u64,
    /// Look-ups that found a dossier since the first that showed it, that one included.
    pub asked: u64,
    /// Of them, the last ones that did not.
    pub absent: u64,
    pub is_gone: bool,
}

/// A field that the portal shows no more, or again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoChange {
    Gone,
    Back,
}

impl Echoing {
    /// After one more look-up that found a dossier.
    #[must_use]
    pub fn after(mut self, is_shown: bool) -> (Self, Option<EchoChange>) {
        self.asked += 1;
        if is_shown {
            self.shown += 1;
            self.absent = 0;
            let was_gone = std::mem::take(&mut self.is_gone);
            return (self, was_gone.then_some(EchoChange::Back));
        }
        self.absent += 1;
        let before = self.asked - self.absent;
        let was_steady = self.shown >= SHOWN_MIN && self.shown * 100 >= before * STEADY_PERCENT;
        if self.is_gone || self.absent < GONE_AFTER || !was_steady {
            return (self, None);
        }
        self.is_gone = true;
        (self, Some(EchoChange::Gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spaces_do_not_make_other_words() {
        assert_eq!(same_words("Lỗi  12 tại\n dòng 345"), "Lỗi # tại dòng #");
        assert_eq!(same_words("Lỗi 9 tại dòng 1"), same_words("Lỗi 12 tại dòng 345"));
        assert_eq!(same_words(""), "");
        let long = same_words(&"ộ".repeat(500));
        assert!(long.len() <= WORDS_MAX + '…'.len_utf8() && long.ends_with('…'));
    }

    fn after(echoing: Echoing, shown: bool, times: u64) -> (Echoing, Vec<EchoChange>) {
        let mut changes = Vec::new();
        let mut echoing = echoing;
        for _ in 0..times {
            let (next, change) = echoing.after(shown);
            echoing = next;
            changes.extend(change);
        }
        (echoing, changes)
    }

    #[test]
    fn a_field_that_was_always_shown_is_gone_after_enough_look_ups_without_it_and_can_come_back() {
        let (steady, changes) = after(Echoing::default(), true, 25);
        assert_eq!(changes, []);
        let (almost, changes) = after(steady, false, GONE_AFTER - 1);
        assert_eq!(changes, []);
        let (gone, changes) = after(almost, false, 100);
        assert_eq!(changes, [EchoChange::Gone], "said once");
        assert_eq!(after(gone, true, 3).1, [EchoChange::Back]);
    }

    #[test]
    fn a_field_that_only_some_dossiers_have_is_never_called_gone() {
        let mut echoing = Echoing::default();
        for at in 0..400 {
            echoing = echoing.after(at % 3 == 0).0;
        }
        assert_eq!(after(echoing, false, 100).1, []);
        let (seldom, _) = after(Echoing::default(), true, SHOWN_MIN - 1);
        assert_eq!(after(seldom, false, 100).1, []);
    }
}
