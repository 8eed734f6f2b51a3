//! A sound sample, changed in a few places: past the parser, into what comes behind it.

use arbitrary::Unstructured;

/// Places that one recipe changes at most.
const EDITS_MAX: usize = 8;

/// The sample with up to eight edits of its tokens: another text, another token of the sample,
/// nothing, twice, or a text in front.
pub(super) fn edited(sample: &str, recipe: &mut Unstructured<'_>) -> String {
    let mut tokens: Vec<&str> = tokens(sample);
    let mut given: Vec<String> = Vec::new();
    let mut edits: Vec<(usize, u8, usize)> = Vec::new();
    let count = recipe.int_in_range(1..=EDITS_MAX).unwrap_or(1);
    for _ in 0..count {
        if recipe.is_empty() || tokens.is_empty() {
            break;
        }
        let at = recipe.choose_index(tokens.len()).unwrap_or(0);
        let what = recipe.arbitrary::<u8>().unwrap_or(0) % 5;
        let with = match what {
            0 | 4 => {
                given.push(recipe.arbitrary::<&str>().unwrap_or_default().to_owned());
                given.len() - 1
            }
            1 => recipe.choose_index(tokens.len()).unwrap_or(0),
            _ => 0,
        };
        edits.push((at, what, with));
    }
    let before = tokens.clone();
    // From the end, so that the places of the others stay.
    edits.sort_by_key(|(at, _, _)| std::cmp::Reverse(*at));
    for (at, what, with) in edits {
        match what {
            0 => tokens[at] = &given[with],
            1 => tokens[at] = before[with],
            2 => tokens[at] = "",
            3 => tokens.insert(at, before[at]),
            _ => tokens.insert(at, &given[with]),
        }
    }
    tokens.concat()
}

/// Words, and each mark for itself.
fn tokens(sample: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = sample;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | ':');
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = &rest[length..];
    }
    tokens
}
