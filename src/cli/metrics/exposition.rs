//! The text form that Prometheus and its relatives read (version 0.0.4). Knows nothing of dossiers.

use std::fmt::{Display, Write as _};

/// What that form is called in HTTP.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a figure behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, but for restarts of what counts.
    Counter,
}

/// A text under construction, family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// Name and value, in the order in which they are shown.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Begins a family; its samples follow. One without samples shows that nothing is known.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// A family of one gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one family.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            let opening = if place == 0 { '{' } else { ',' };
            let _infallible = write!(self.text, "{opening}{name}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _infallible = writeln!(self.text, " {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

/// Milliseconds as the seconds that such systems want.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_told_once_and_its_labels_are_escaped() {
        let mut text = Exposition::default();
        let mut family = text.family("hoso_x", Kind::Counter, "What it is.");
        family.sample(&[("a", "1"), ("b", "say \"no\"\\\n")], 7);
        family.sample(&[], seconds(1_500));
        text.gauge("hoso_y", "Another.", 0);
        assert_eq!(
            text.into_text(),
            "# HELP hoso_x What it is.\n# TYPE hoso_x counter\n\
             hoso_x{a=\"1\",b=\"say \\\"no\\\"\\\\\\n\"} 7\nhoso_x 1.5\n\
             # HELP hoso_y Another.\n# TYPE hoso_y gauge\nhoso_y 0\n"
        );
    }
}
