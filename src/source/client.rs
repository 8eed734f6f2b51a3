//! The feed's client: forms the three questions and turns answers into pages.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use super::classify::{self, Question, Refusal, Verdict};
use super::encode::{base64, percent};
use super::wire::{self, Reading, Unreadable};
use super::{Changes, IndexPage, Item, Page, Source, SourceFailure};
use crate::domain::failure::{Disposition, Failure};
use crate::http::{Http, HttpAnswer, HttpFailure, HttpRequest, Method};
use crate::xml;

/// How much of a refused document is kept.
const EVIDENCE_BYTES_MAX: usize = 256 * 1024;

/// Everything a feed needs to know about its source.
#[derive(Debug, Clone)]
pub struct FeedSettings {
    pub name: String,
    /// `http` or `https`, without query; `/dossiers/…` is added to it.
    pub base_url: String,
    pub auth: Auth,
    /// For a whole answer.
    pub timeout_ms: u64,
    /// Largest answer, after decompression.
    pub page_bytes_max: usize,
    /// Largest dossier within an answer.
    pub item_bytes_max: usize,
    pub limits: xml::Limits,
    /// Query keys of links that differ on every export; they do not count as a change.
    pub volatile_query_keys: Vec<String>,
}

/// How the gateway proves to the source who it is.
#[derive(Debug, Clone)]
pub enum Auth {
    None,
    Bearer(SecretString),
    Basic { user: String, password: SecretString },
}

impl Auth {
    fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Bearer(token) => Some(format!("Bearer {}", token.expose_secret())),
            Self::Basic { user, password } => {
                let pair = format!("{user}:{}", password.expose_secret());
                Some(format!("Basic {}", base64(pair.as_bytes())))
            }
        }
    }
}

/// A province that publishes the HTTP and XML change feed.
#[derive(Debug)]
pub struct Feed {
    settings: FeedSettings,
    http: Arc<dyn Http>,
}

impl Feed {
    pub fn new(settings: FeedSettings, http: Arc<dyn Http>) -> Self {
        Self { settings, http }
    }

    pub fn settings(&self) -> &FeedSettings {
        &self.settings
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            limits: &self.settings.limits,
            item_bytes_max: self.settings.item_bytes_max,
            volatile_query_keys: &self.settings.volatile_query_keys,
        }
    }

    async fn ask(
        &self,
        question: Question,
        path_and_query: &str,
        etag: Option<&str>,
    ) -> Result<(Verdict, HttpAnswer), SourceFailure> {
        let mut headers = vec![("accept".to_owned(), "application/xml".to_owned())];
        if let Some(value) = self.settings.auth.header() {
            headers.push(("authorization".to_owned(), value));
        }
        if let Some(etag) = etag {
            headers.push(("if-none-match".to_owned(), etag.to_owned()));
        }
        let base = self.settings.base_url.trim_end_matches('/');
        let request = HttpRequest {
            method: Method::Get,
            url: format!("{base}/dossiers/{path_and_query}"),
            headers,
            body: Bytes::new(),
            timeout: Duration::from_millis(self.settings.timeout_ms),
            answer_bytes_max: self.settings.page_bytes_max,
        };
        let answer = self.http.send(request).await.map_err(|failure| SourceFailure {
            // Fewer dossiers make a smaller page.
            spoilt: matches!(
                (question, &failure),
                (Question::Changes { .. }, HttpFailure::TooLarge(_))
            )
            .then(Box::default),
            ..without_evidence(classify::transport(question, &failure))
        })?;
        match classify::answer(question, &answer) {
            Ok(verdict) => Ok((verdict, answer)),
            Err(failure) => Err(without_evidence(failure)),
        }
    }
}

#[async_trait]
impl Source for Feed {
    fn name(&self) -> &str {
        &self.settings.name
    }

    async fn changes(
        &self,
        after: Option<&str>,
        limit: u32,
        etag: Option<&str>,
    ) -> Result<Changes, SourceFailure> {
        let mut path = format!("changes?limit={limit}");
        push_after(&mut path, after);
        let question = Question::Changes { conditional: etag.is_some() };
        let (verdict, answer) = self.ask(question, &path, etag).await?;
        if verdict == Verdict::NotModified {
            return Ok(Changes::NotModified);
        }
        let reading = self.reading();
        let page = match xml::decode(&answer.body, classify::charset(&answer)) {
            Ok(text) => wire::page(&text, &reading),
            Err(fault) => {
                let sound = xml::decode_sound(&answer.body, classify::charset(&answer));
                Err(wire::undecodable_page(&fault, sound, &reading))
            }
        };
        let page = page.map_err(|Unreadable { refusal, spoilt }| SourceFailure {
            spoilt: spoilt.map(|mut spoilt| {
                spoilt.etag = answer.header("etag").map(str::to_owned);
                spoilt
            }),
            ..with_evidence(refusal, &answer)
        })?;
        Ok(Changes::Page(Box::new(Page {
            etag: answer.header("etag").map(str::to_owned),
            bytes: answer.body.len(),
            ..page
        })))
    }

    async fn dossier(&self, ma_ho_so: &str) -> Result<Option<Item>, SourceFailure> {
        // These would ask another question than the one meant: they are no segments, or the
        // names of the feed's own resources.
        if matches!(ma_ho_so, "" | "." | ".." | "changes" | "index") {
            return Err(without_evidence(Failure::new(
                classify::ITEM_CODE,
                Disposition::Data,
                "this cannot be the code of a dossier",
            )));
        }
        let (verdict, answer) = self.ask(Question::Dossier, &percent(ma_ho_so), None).await?;
        if verdict == Verdict::NoSuchDossier {
            return Ok(None);
        }
        decoded(&answer)
            .and_then(|text| wire::dossier(&text, ma_ho_so, &self.reading()))
            .map(Some)
            .map_err(|refusal| with_evidence(refusal, &answer))
    }

    async fn index(
        &self,
        from_day: &str,
        to_day: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<IndexPage, SourceFailure> {
        let mut path =
            format!("index?from={}&to={}&limit={limit}", percent(from_day), percent(to_day));
        push_after(&mut path, after);
        let (_, answer) = self.ask(Question::Index, &path, None).await?;
        decoded(&answer)
            .and_then(|text| wire::index(&text, &self.reading()))
            .map_err(|refusal| with_evidence(refusal, &answer))
    }
}

fn push_after(path: &mut String, after: Option<&str>) {
    if let Some(cursor) = after {
        path.push_str("&after=");
        path.push_str(&percent(cursor));
    }
}

fn decoded(answer: &HttpAnswer) -> Result<std::borrow::Cow<'_, str>, Refusal> {
    xml::decode(&answer.body, classify::charset(answer))
        .map_err(|fault| classify::undecodable(&fault))
}

fn without_evidence(failure: Failure) -> SourceFailure {
    SourceFailure { failure, evidence: None, spoilt: None }
}

/// Copied, not sliced: a slice would keep the whole page in memory.
fn with_evidence(refusal: Refusal, answer: &HttpAnswer) -> SourceFailure {
    let kept = answer.body.len().min(EVIDENCE_BYTES_MAX);
    SourceFailure {
        failure: refusal.into_failure(),
        evidence: Some(answer.body[..kept].into()),
        spoilt: None,
    }
}
