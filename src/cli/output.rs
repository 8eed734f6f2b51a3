//! The only place that prints: data to stdout, talk to stderr, quiet on a closed pipe.

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the reader is a machine.
    pub fn wants_json(self) -> bool {
        self.json
    }

    /// Whether a person watches stderr, so that a view may be redrawn in place.
    pub fn is_watched(self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// The command's result: JSON if asked for, else `text`.
    pub fn result<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            self.json(value);
        } else {
            self.data(&text(value));
        }
    }

    /// One JSON object on one line.
    pub fn json<T: Serialize>(self, value: &T) {
        match serde_json::to_string(value) {
            Ok(line) => self.data(&line),
            Err(error) => {
                self.talk(&format!("error: the result cannot be written as JSON: {error}"));
            }
        }
    }

    /// Text to stdout, with a line end.
    pub fn data(self, text: &str) {
        if text.is_empty() {
            return;
        }
        write_or_leave(&mut std::io::stdout().lock(), text);
    }

    /// Words about the work to stderr, with a line end.
    pub fn talk(self, text: &str) {
        write_or_leave(&mut std::io::stderr().lock(), text);
    }
}

/// A reader that has gone (`hoso … | head`) is no error: there is nobody left to tell.
fn write_or_leave(stream: &mut impl Write, text: &str) {
    let written = stream
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { stream.write_all(b"\n") })
        .and_then(|()| stream.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}
