//! Which dossiers a command means: options that become a selection.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::failure::{Exit, Failure};
use super::plan::time;
use crate::domain::discrepancy::{Bucket, DiscrepancyKind};
use crate::domain::selection::Selection;
use crate::domain::status::Status;

/// Every criterion that is given must hold.
#[derive(Debug, clap::Args)]
pub(super) struct Criteria {
    /// Dossier codes (MaHoSo)
    #[arg(long, value_name = "CODE", num_args = 1..)]
    pub code: Vec<String>,
    /// File with a code a line; `-` reads them from stdin
    #[arg(long, value_name = "FILE")]
    pub codes_file: Option<PathBuf>,
    /// Only dossiers of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Procedure (MaTTHC)
    #[arg(long, value_name = "CODE")]
    procedure: Option<String>,
    /// Agency, as dossier codes begin with it
    #[arg(long, value_name = "CODE")]
    agency: Option<String>,
    /// Status of the newest mapped packet, 1 to 10
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Channel (KenhThucHien) of the newest mapped packet
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Received on this day or later
    #[arg(long, value_name = "DAY")]
    received_from: Option<String>,
    /// Received on this day or before
    #[arg(long, value_name = "DAY")]
    received_to: Option<String>,
    /// Refused, out of attempts or held with this failure code
    #[arg(long, value_name = "CODE")]
    failure: Option<String>,
    /// In quarantine for this rule
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Of this cause, as `hoso problems` names it
    #[arg(long, value_name = "S-…")]
    signature: Option<String>,
    /// With an open discrepancy of this kind
    #[arg(long, value_name = "KIND")]
    discrepancy: Option<String>,
    /// Where the books would put it now
    #[arg(long, value_name = "BUCKET")]
    bucket: Option<String>,
    /// Changed at the source since this time or day
    #[arg(long, value_name = "TIME")]
    changed_since: Option<String>,
}

impl Criteria {
    /// Nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.selection().is_ok_and(|selection| selection == Selection::default())
            && self.codes_file.is_none()
    }

    /// Reads the file of codes, too, and refuses what cannot be meant.
    pub(super) fn read(&self) -> Result<Selection, Failure> {
        let mut selection = self.selection()?;
        if let Some(file) = &self.codes_file {
            selection.codes.extend(codes_of(file)?);
        }
        selection.validate().map_err(|error| {
            Failure::new(Exit::Usage, error.to_string())
                .hint("nothing was sent; `hoso resync --help` lists what dossiers are selected by")
        })?;
        Ok(selection)
    }

    fn selection(&self) -> Result<Selection, Failure> {
        let wrong = |option: &str, value: &str, known: &str| {
            Failure::new(Exit::Usage, format!("{option}: {value:?} is not known"))
                .hint(format!("one of {known}"))
        };
        let at = |option: &str, text: &Option<String>, next_day: bool| match text {
            None => Ok(None),
            Some(text) => time(text, next_day).map(Some).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("{option}: {text:?} is no day and no time"))
                    .hint("a day such as 2026-01-26, or a time such as 2026-01-26T08:30:00")
            }),
        };
        let status = match &self.status {
            None => None,
            Some(text) => {
                Some(Status::parse(text).ok_or_else(|| wrong("--status", text, "1, 2, 3 … 10"))?)
            }
        };
        let kinds = || DiscrepancyKind::ALL.map(DiscrepancyKind::as_str).join(", ");
        let discrepancy = match &self.discrepancy {
            None => None,
            Some(text) => Some(
                DiscrepancyKind::parse(text)
                    .ok_or_else(|| wrong("--discrepancy", text, &kinds()))?,
            ),
        };
        let buckets = || Bucket::ALL.map(Bucket::as_str).join(", ");
        let bucket = match &self.bucket {
            None => None,
            Some(text) => Some(
                Bucket::ALL
                    .into_iter()
                    .find(|bucket| bucket.as_str() == text)
                    .ok_or_else(|| wrong("--bucket", text, &buckets()))?,
            ),
        };
        Ok(Selection {
            codes: self.code.iter().cloned().collect(),
            source: self.source.clone(),
            procedure: self.procedure.clone(),
            agency: self.agency.clone(),
            status,
            channel: self.channel.clone(),
            received_from: at("--received-from", &self.received_from, false)?,
            received_before: at("--received-to", &self.received_to, true)?,
            failure: self.failure.clone(),
            rule: self.rule.clone(),
            signature: self.signature.clone(),
            discrepancy,
            bucket,
            changed_since: at("--changed-since", &self.changed_since, false)?,
        })
    }
}

fn codes_of(file: &Path) -> Result<Vec<String>, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| {
        Failure::new(Exit::Failed, format!("{} cannot be read: {error}", file.display()))
            .hint("nothing was sent; the file holds a dossier code a line")
    })?;
    let lines = text.lines().map(|line| line.trim().trim_start_matches('\u{feff}'));
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
