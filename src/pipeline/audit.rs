//! The audit: acts that came to nothing leave their row, too, and the chain is looked at as a whole.
//!
//! A verb of the ledger writes the row of its effect in the transaction of the effect. What is here is
//! for the rest: a verb that failed, a command that was refused, something that was only shown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Context, VerbError};
use crate::domain::time::Timestamp;
use crate::ledger::audit::{
    AuditChain, AuditHead, AuditRow, ChainCheck, ChainReport, RESTORE, SegmentKind,
};
use crate::ledger::record::AuditRecord;
use crate::ledger::{Ledger, LedgerError};

/// Rows that are read at once.
const PAGE: u32 = 5_000;

/// Runs a verb that writes the row of its effect itself; if it fails, nothing of it was written, and the
/// row says so.
pub async fn on_record<T>(
    context: &Context,
    audit: &AuditRecord,
    work: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    let done = work.await;
    if let Err(error) = &done {
        note(context, audit, &format!("failed: {error} ({})", error.code())).await;
    }
    done
}

/// A command was refused before it changed anything.
pub async fn refused(context: &Context, audit: &AuditRecord, why: &str) {
    note(context, audit, &format!("refused: {why}")).await;
}

/// The row of an act without another effect. What follows from the act does not wait for it: a ledger
/// that cannot be written has failed already, and says so in the log.
pub async fn note(context: &Context, audit: &AuditRecord, result: &str) {
    note_in(context.ledger.as_ref(), context.clock.now(), audit, result).await;
}

/// The same for commands that work on the ledger's file and have no context.
pub async fn note_in(ledger: &dyn Ledger, now: Timestamp, audit: &AuditRecord, result: &str) {
    if let Err(error) = ledger.note_act(now, audit, result).await {
        tracing::error!(
            action = %audit.action,
            target = %audit.target,
            result,
            %error,
            "an act could not be written into the audit"
        );
    }
}

/// Writes where the chain ends into the log: once the log is elsewhere, nobody can cut the end off
/// unnoticed.
pub async fn tell_head(context: &Context) -> Result<(), VerbError> {
    if let Some(head) = context.ledger.audit_chain().await?.head {
        tracing::info!(%head, "the audit ends here; `hoso audit verify --expect` looks for it");
    }
    Ok(())
}

/// What an anchor that somebody kept outside says of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum AnchorVerdict {
    /// The chain holds it: nothing up to there was changed, and nothing of it was cut off.
    Found,
    /// The chain ends before it: its tail was cut off.
    CutOff,
    /// Another row stands in its place.
    Another,
    /// Retention has taken its row, and no segment ends with it: nobody can say any more.
    OlderThanKept,
    /// A backup was put in the ledger's place since, which did not have it.
    PutAside { restored_at: Timestamp },
}

/// What a look at the whole chain came to.
#[derive(Debug, Clone, Serialize)]
pub struct AuditVerdict {
    #[serde(flatten)]
    pub chain: ChainReport,
    /// Segments whose rows retention has taken, and their rows.
    pub archived_segments: usize,
    pub archived_rows: i64,
    /// Rows from before there was a chain, and since when nobody can have changed them.
    pub sealed: Option<(i64, Timestamp)>,
    /// Times at which a backup was put in the ledger's place.
    pub restores: Vec<Timestamp>,
    pub anchors: Vec<(AuditHead, AnchorVerdict)>,
}

impl AuditVerdict {
    pub fn is_sound(&self) -> bool {
        let fine = |verdict: &AnchorVerdict| *verdict == AnchorVerdict::Found;
        self.chain.findings.is_empty() && self.anchors.iter().all(|(_, verdict)| fine(verdict))
    }
}

/// Reads the chain from its beginning to its end, and looks for the anchors in it.
pub async fn verify(ledger: &dyn Ledger, anchors: &[AuditHead]) -> Result<AuditVerdict, VerbError> {
    let chain = ledger.audit_chain().await?;
    let mut check = ChainCheck::of_ledger(&chain);
    let mut search = Search::for_anchors(anchors, &chain);
    let mut restores = Vec::new();
    let mut after = check.head().seq;
    // Rows in front of an archived segment's end are rows that retention did not take.
    if let Some(first) = ledger.audit_rows(0, 1).await?.first()
        && first.seq <= after
    {
        check.find("rows stand where an archived segment was", first.seq);
    }
    loop {
        let rows = ledger.audit_rows(after, PAGE).await?;
        let Some(last) = rows.last() else {
            break;
        };
        after = last.seq;
        for row in &rows {
            check.row(row);
            search.see(row.head());
            if row.action == RESTORE && row.selection.is_some() {
                restores.push((row.at, row.seq));
            }
        }
    }
    let archived = || chain.segments.iter().filter(|s| s.kind == SegmentKind::Archived);
    let sealed = chain
        .segments
        .iter()
        .find(|segment| segment.kind == SegmentKind::Sealed)
        .map(|segment| (segment.rows, segment.made_at));
    let anchors = search.verdicts(check.head(), &restores);
    Ok(AuditVerdict {
        archived_segments: archived().count(),
        archived_rows: archived().map(|segment| segment.rows).sum(),
        sealed,
        restores: restores.into_iter().map(|(at, _)| at).collect(),
        chain: check.report(),
        anchors,
    })
}

/// Looks for anchors in a chain that goes by.
#[derive(Debug)]
struct Search {
    wanted: Vec<AuditHead>,
    /// Hashes that stand at the numbers that are looked for.
    seen: BTreeMap<i64, Option<AuditHead>>,
    archived_until: i64,
}

impl Search {
    fn for_anchors(wanted: &[AuditHead], chain: &AuditChain) -> Self {
        let mut search = Self {
            wanted: wanted.to_vec(),
            seen: wanted.iter().map(|anchor| (anchor.seq, None)).collect(),
            archived_until: 0,
        };
        for segment in &chain.segments {
            if segment.kind == SegmentKind::Archived {
                search.archived_until = search.archived_until.max(segment.last_seq);
                search.see(Some(segment.end()));
            }
        }
        search
    }

    fn see(&mut self, head: Option<AuditHead>) {
        if let Some(head) = head
            && let Some(place) = self.seen.get_mut(&head.seq)
        {
            *place = Some(head);
        }
    }

    fn verdicts(
        self,
        end: AuditHead,
        restores: &[(Timestamp, i64)],
    ) -> Vec<(AuditHead, AnchorVerdict)> {
        let verdict = |anchor: &AuditHead| match self.seen.get(&anchor.seq).copied().flatten() {
            Some(head) if head == *anchor => AnchorVerdict::Found,
            None if anchor.seq <= self.archived_until => AnchorVerdict::OlderThanKept,
            // A restore's row stands right behind what the backup had.
            other => match restores.iter().rev().find(|(_, seq)| anchor.seq >= *seq) {
                Some((restored_at, _)) => AnchorVerdict::PutAside { restored_at: *restored_at },
                None if other.is_none() && anchor.seq > end.seq => AnchorVerdict::CutOff,
                None => AnchorVerdict::Another,
            },
        };
        self.wanted.iter().map(|anchor| (*anchor, verdict(anchor))).collect()
    }
}

/// A look at the newest rows and the segments only: cheap enough for a check that runs often.
pub async fn look(ledger: &dyn Ledger, rows: u32) -> Result<ChainReport, VerbError> {
    let chain = ledger.audit_chain().await?;
    let end = chain.head.map_or(0, |head| head.seq);
    let from = end.saturating_sub(i64::from(rows));
    let check = ChainCheck::of_ledger(&chain);
    if from <= check.head().seq {
        return Ok(verify(ledger, &[]).await?.chain);
    }
    let found = ledger.audit_rows(from, rows).await?;
    let mut newest: Option<ChainCheck> = None;
    for row in &found {
        match (&mut newest, row.head()) {
            // The first one is where the look begins.
            (None, Some(head)) => newest = Some(ChainCheck::behind(head)),
            (Some(check), _) => check.row(row),
            (None, None) => {}
        }
    }
    let mut report = newest.unwrap_or_else(|| ChainCheck::behind(AuditHead::BEGINNING)).report();
    report.findings.extend(check.report().findings.into_iter().filter(|finding| {
        // Whether the archive is told of stands in rows that are not looked at here.
        !finding.what.starts_with("no row of the audit tells")
    }));
    Ok(report)
}

/// The rows of a chain since a time, page by page, with what stands before the first.
#[derive(Debug)]
pub struct Export<'l> {
    ledger: &'l dyn Ledger,
    since: Option<Timestamp>,
    /// Where the chain ended when this began; later rows are left out.
    pub ends_with: AuditHead,
    pub chain: AuditChain,
    at: AuditHead,
    begun: bool,
}

impl<'l> Export<'l> {
    pub async fn begin(
        ledger: &'l dyn Ledger,
        since: Option<Timestamp>,
    ) -> Result<Self, VerbError> {
        let chain = ledger.audit_chain().await?;
        let at = ChainCheck::of_ledger(&chain).head();
        let ends_with = chain.head.unwrap_or(at);
        Ok(Self { ledger, since, ends_with, chain, at, begun: false })
    }

    /// The next rows, each page with the place that it is behind; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(AuditHead, Vec<AuditRow>)>, VerbError> {
        loop {
            let mut rows = self.ledger.audit_rows(self.at.seq, PAGE).await?;
            rows.retain(|row| row.seq <= self.ends_with.seq);
            let Some(last) = rows.last() else {
                return Ok(None);
            };
            let end = AuditHead { seq: last.seq, hash: last.hash.unwrap_or_default() };
            let mut behind = self.at;
            if !self.begun {
                let young = |row: &AuditRow| self.since.is_none_or(|since| row.at >= since);
                let first = rows.iter().position(young);
                for row in rows.drain(..first.unwrap_or(rows.len())) {
                    behind = AuditHead { seq: row.seq, hash: row.hash.unwrap_or_default() };
                }
            }
            self.at = end;
            if !rows.is_empty() {
                self.begun = true;
                return Ok(Some((behind, rows)));
            }
        }
    }
}
