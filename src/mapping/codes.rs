//! What the rules of mapping, documents and mapping files mean, for `hoso explain`.

/// Code, what it means, what to do. Codes are never renamed or reused.
pub const CODES: &[(&str, &str, &str)] = &[
    // Of a dossier.
    (
        "mapping.agency_code",
        "A field that must name an agency does not hold an agency code.",
        "Correct the agency at the source, in the form H55.242 or 000.00.28.H55.",
    ),
    (
        "mapping.amount",
        "An amount of money is not written in whole digits, as the portal takes VND.",
        "Correct the fee at the source: digits alone, without separators or currency.",
    ),
    (
        "mapping.code_list",
        "A value is not in the code list of its field, so nobody can say what the portal should show.",
        "Correct the value at the source, or add a row for it to the code list (`mappings/codelists`) once its meaning is agreed.",
    ),
    (
        "mapping.code_validity",
        "A value is in its code list, but was not valid on the dossier's date.",
        "Correct the value at the source, or the dates of its row in the code list.",
    ),
    (
        "mapping.dossier_code",
        "The dossier's code is not built from agency, date of reception and serial number.",
        "Correct the code at the source. The portal keeps dossiers by this code, so nothing is sent without it.",
    ),
    (
        "mapping.duplicate",
        "An element that may stand once stands twice; which of them is meant is not known.",
        "Correct the dossier at the source, or report the doubled element to the maker of the feed.",
    ),
    (
        "mapping.email",
        "A text in an e-mail field is not an e-mail address.",
        "Correct the address at the source.",
    ),
    (
        "mapping.end_step",
        "The dossier's status says that work has ended, but no step says so.",
        "Nothing must be done to send it. Enter the missing step at the source, because the public sees the steps.",
    ),
    (
        "mapping.ended_agency",
        "The dossier's code names an agency that had gone over to another one when the code was issued. It is sent as it is: a code is never changed.",
        "Tell the office that issues the codes; if the agency lives on, correct its row in `mappings/succession.csv`.",
    ),
    (
        "mapping.flag",
        "A yes-or-no field holds something else.",
        "Correct the value at the source: 0, 1, true or false.",
    ),
    (
        "mapping.identity",
        "The identity number contradicts its type: 12 digits belong to type 1, 9 digits to type 2.",
        "Compare number and type with the person's paper and correct the one that is wrong at the source.",
    ),
    (
        "mapping.identity_placeholder",
        "The identity number is a stand-in such as 000000000; it is left out, so that the dossier is not filed under a stranger.",
        "Enter the real number at the source.",
    ),
    (
        "mapping.identity_type",
        "The portal's code for this kind of identity number is not known, so number and type are left out.",
        "Set `mapping.tax_identity_type` or `mapping.passport_identity_type` once the portal's operators have named the code.",
    ),
    (
        "mapping.identity_unknown",
        "An identity type without a number; both are left out.",
        "Enter the number at the source.",
    ),
    (
        "mapping.internal",
        "The mapping's plan and the program's records contradict each other. This is a defect.",
        "Report it with the mapping file; the dossier waits.",
    ),
    (
        "mapping.length",
        "A text is longer than the portal takes, and its row does not allow shortening.",
        "Shorten the text at the source.",
    ),
    (
        "mapping.link",
        "A link to a file is not an http or https address that the portal could follow.",
        "Correct the link at the source.",
    ),
    (
        "mapping.list_absent",
        "A list that must be there, even if empty, is missing.",
        "Report it to the maker of the feed: a missing list could mean a truncated document.",
    ),
    (
        "mapping.list_items",
        "A list holds elements that are not its items.",
        "Report the element's name to the maker of the feed, or name it as the list's `item` in the mapping.",
    ),
    (
        "mapping.nested",
        "A field that holds a plain text has elements inside.",
        "Report it to the maker of the feed, or map the inner elements.",
    ),
    (
        "mapping.phone",
        "A text in a telephone field does not look like a number.",
        "Correct the number at the source.",
    ),
    (
        "mapping.procedure_code",
        "The procedure (TTHC) is not a national procedure code.",
        "Correct the procedure at the source, in the form 2.000815 or 2.000815.000.00.00.H55.",
    ),
    (
        "mapping.province",
        "The dossier's code belongs to an agency of another province.",
        "Correct the code at the source; if the agency is yours, add the code's first group to `province.codes`, or its row to `mappings/succession.csv` if yours followed it.",
    ),
    (
        "mapping.required",
        "A field that the portal requires is missing or empty.",
        "Enter the value at the source; the next change of the dossier is mapped by itself.",
    ),
    (
        "mapping.result_code",
        "A result's code is not one of the national list of results.",
        "Correct the code at the source, in the form KQ.G15.000031.",
    ),
    (
        "mapping.result_is_input",
        "A result's file is a paper that the citizen submitted.",
        "Attach the real result at the source.",
    ),
    (
        "mapping.root",
        "The document is another one than the mapping describes.",
        "Check that the mapping belongs to this source.",
    ),
    (
        "mapping.shortened",
        "A free text was longer than the portal takes and is sent shortened.",
        "Nothing; the whole text stays at the source.",
    ),
    (
        "mapping.status_time",
        "The dossier's status requires a time (of finishing or returning) that is empty.",
        "Enter the time at the source.",
    ),
    (
        "mapping.step_of_another",
        "A step carries the code of another dossier.",
        "Report it to the maker of the feed: steps of two dossiers are mixed up.",
    ),
    (
        "mapping.stray_text",
        "Text stands between elements, where none belongs.",
        "Report it to the maker of the feed; something was written into the wrong place.",
    ),
    (
        "mapping.time",
        "A time cannot be read, or is a date without time of day.",
        "Correct it at the source: fourteen digits (20260126083000) or ISO 8601 with time of day.",
    ),
    (
        "mapping.times_order",
        "Two times of the dossier contradict each other: the later one comes before the earlier one.",
        "Correct the times at the source.",
    ),
    (
        "mapping.transition",
        "One status follows another in an unusual order. The steps are sent as they are.",
        "Nothing, unless the order is a mistake at the source.",
    ),
    (
        "mapping.whole_number",
        "A number is not a whole number from 0.",
        "Correct the value at the source.",
    ),
    // Of a document.
    (
        "xml.ampersand",
        "An `&` is not written as `&amp;`.",
        "Report it to the maker of the feed: texts must be escaped.",
    ),
    (
        "xml.attributes",
        "An element has more attributes than is reasonable.",
        "Report it to the maker of the feed.",
    ),
    (
        "xml.control_character",
        "The document holds a character that XML 1.0 does not allow.",
        "Correct the text at the source; such characters often come with pasted text.",
    ),
    (
        "xml.depth",
        "Elements are nested deeper than `sources.depth_max`.",
        "If the document is genuine, raise the limit.",
    ),
    (
        "xml.doctype",
        "The document holds a document type declaration; none is ever processed.",
        "Ask the maker of the feed to leave <!DOCTYPE …> out.",
    ),
    ("xml.empty", "The document holds no element at all.", "Ask the maker of the feed why."),
    (
        "xml.encoding",
        "The document's bytes are not text in the encoding that it declares.",
        "Ask the maker of the feed to declare the encoding that it writes, best UTF-8.",
    ),
    (
        "xml.entity",
        "The document names an entity other than the five of XML.",
        "Ask the maker of the feed to write the character itself.",
    ),
    (
        "xml.malformed",
        "The document is not well-formed XML.",
        "Report the position to the maker of the feed.",
    ),
    (
        "xml.text_outside_root",
        "Text stands before or after the root element.",
        "Report it to the maker of the feed; a program may have printed a message into the document.",
    ),
    (
        "xml.too_large",
        "The document has more elements, or a longer text, than the limits allow.",
        "Look at the dossier at the source: files belong behind links, not into it.",
    ),
    (
        "xml.truncated",
        "The document ends before its root element does.",
        "If it repeats, look for a proxy or a time limit that cuts long answers.",
    ),
    (
        "xml.two_roots",
        "Another element follows the root element.",
        "Report it to the maker of the feed.",
    ),
    // Of a mapping file.
    (
        "mapping_file.conflict",
        "Two rows want the same element in ways that exclude each other.",
        "Map the element once, in the list or record that it belongs to.",
    ),
    ("mapping_file.duplicate", "One portal field is mapped twice.", "Remove one of the two rows."),
    (
        "mapping_file.kind",
        "A row's converter, pattern or place does not fit the kind of its portal field.",
        "Follow the hint; `mappings/README.md` lists which converter fits which field.",
    ),
    (
        "mapping_file.length",
        "A row's longest length is more than the portal takes.",
        "Lower it; a mapping can only ask for less.",
    ),
    (
        "mapping_file.missing_key",
        "A row lacks a key that it needs.",
        "Add the key; nothing in a mapping has a default.",
    ),
    (
        "mapping_file.path",
        "A source path cannot be one.",
        "Write element names joined by `/`, an attribute with `@` at the end.",
    ),
    (
        "mapping_file.settings",
        "The configuration gives the mapping a value that cannot be right.",
        "Correct `province.codes` or the identity types under `[mapping]`.",
    ),
    (
        "mapping_file.status",
        "A code list gives a dossier a status that the portal does not have.",
        "Use the portal's statuses, 1 to 10.",
    ),
    ("mapping_file.syntax", "The file is not TOML.", "Correct the line that is named."),
    (
        "mapping_file.too_many",
        "One record has more required fields or fields than the mapping can count.",
        "Report it; no contract needs that many.",
    ),
    (
        "mapping_file.type",
        "A key's value has the wrong type.",
        "Write the type that is named: a text in quotes, true or false, or a number.",
    ),
    (
        "mapping_file.uncovered",
        "A portal field is neither mapped nor listed as not mapped.",
        "Map it, or list it under `unmapped` with the reason.",
    ),
    (
        "mapping_file.unknown",
        "A word is not one of those that are known: a converter, a pattern, a code list.",
        "Follow the suggestion; `mappings/README.md` lists them.",
    ),
    (
        "mapping_file.unknown_key",
        "A row has a key that nothing reads.",
        "Remove it, or correct its spelling.",
    ),
    (
        "mapping_file.unknown_target",
        "The portal has no field of this name.",
        "Follow the suggestion; names are those of the portal's contract.",
    ),
    ("mapping_file.unreadable", "The file cannot be read.", "Check the path and its permissions."),
    // Of the table of successors.
    (
        "succession.agency_code",
        "A row of the table of successors names something that is no agency code.",
        "Write codes as H55, H55.242 or 000.00.28.H55.",
    ),
    (
        "succession.basis",
        "A row has no legal basis, so nobody can say why dossiers of one agency are another's.",
        "Name the resolution or decision, as NQ 202/2025/QH15.",
    ),
    (
        "succession.columns",
        "The table's columns are not `old_code,new_code,from,basis`.",
        "Correct its first line.",
    ),
    (
        "succession.cycle",
        "The successors of an agency lead back to itself.",
        "Remove the row that is wrong; one of the agencies must be the last.",
    ),
    ("succession.date", "A row's first day cannot be read.", "Write it as 2025-07-01."),
    (
        "succession.duplicate",
        "One agency has two successors, so nobody can say whose its dossiers are.",
        "Keep one row; where the agency was divided, write a row for each of its parts.",
    ),
    (
        "succession.malformed",
        "A line is not a row of the table.",
        "Correct the line that is named; texts with commas need quotes.",
    ),
    (
        "succession.order",
        "An agency is said to follow another one on a day when it was gone itself.",
        "Name the agency that was there on that day, or correct the dates.",
    ),
    // Of a code list.
    (
        "code_list.date",
        "A date of validity cannot be read, or ends before it begins.",
        "Write it as 2026-01-26.",
    ),
    (
        "code_list.duplicate",
        "A key stands twice with overlapping validity.",
        "Remove one row, or let the first end before the second begins.",
    ),
    (
        "code_list.empty",
        "The code list has no rows.",
        "Fill it, or take its name out of the mapping.",
    ),
    (
        "code_list.empty_code",
        "A row has no portal code.",
        "Enter the code, or remove the row; what is not in the list is refused by name.",
    ),
    (
        "code_list.malformed",
        "A line is not a row of the table.",
        "Correct the line that is named; texts with commas need quotes.",
    ),
    (
        "code_list.missing_column",
        "A column that every code list needs is not there.",
        "Add it to the first line.",
    ),
    (
        "code_list.unknown_column",
        "A column has a name that nothing reads.",
        "Remove it, or correct its spelling.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::CODES;

    /// Every `"family.rule"` in the program's text below `folder`, its tests apart.
    fn rules_in(folder: &Path, rules: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                rules_in(&path, rules);
            } else if path.extension().is_some_and(|end| end == "rs")
                && name != "tests.rs"
                && name != "codes.rs"
            {
                let text = std::fs::read_to_string(&path).unwrap();
                rules.extend(
                    text.split('"')
                        .filter(|piece| {
                            piece.split_once('.').is_some_and(|(family, rule)| {
                                matches!(
                                    family,
                                    "mapping" | "mapping_file" | "code_list" | "succession" | "xml"
                                ) && !matches!(rule, "toml" | "csv")
                                    && !rule.is_empty()
                                    && rule.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                            })
                        })
                        .map(str::to_owned),
                );
            }
        }
    }

    #[test]
    fn every_rule_that_is_used_is_explained_and_no_other() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut used = BTreeSet::new();
        rules_in(&src.join("mapping"), &mut used);
        rules_in(&src.join("xml"), &mut used);
        assert!(used.len() > 60, "{used:?}");
        let explained: BTreeSet<String> =
            CODES.iter().map(|(code, ..)| (*code).to_owned()).collect();
        assert_eq!(explained.len(), CODES.len(), "a code stands twice");
        assert_eq!(used, explained);
    }

    #[test]
    fn every_explanation_says_what_it_means_and_what_to_do() {
        for (code, meaning, advice) in CODES {
            assert!(meaning.ends_with('.') && advice.ends_with('.'), "{code}");
        }
    }
}
