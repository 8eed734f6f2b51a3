//! Two laboratories: a simulated [`province`] and a simulated national [`portal`].
//!
//! They stand on the other side of the wire, so that the demo, the tests, the benchmarks and
//! rehearsals need nobody else. They implement the documented contracts and use nothing of the
//! gateway's but its clock, its way of writing time and its door to the network; what they claim about a delivery is
//! therefore independent of the code that delivered it. Both start on a socket, speak HTTP, take
//! orders under `/lab/` (the tables are in [`province`] and [`portal`]) and hand the same facts out
//! in process.
//!
//! [`older_sync`] is the program before the gateway: it fills a portal from a province, with mistakes.
//!
//! [`traffic`] lets a province live on.
//!
//! [`digest::compare`] is the judge: what the province expects against what the portal holds.

pub mod certificates;
pub mod digest;
pub mod older_sync;
pub mod packet;
pub mod population;
pub mod portal;
pub mod province;
mod serving;
pub mod traffic;

use axum::body::Body;
use axum::http::{Response, header};
use bytes::Bytes;
use serde::Serialize;

/// Streams a long list as JSON lines, one piece at a time, so that a million rows need no memory.
///
/// `next` gives the rows after a key and the key of its last row; an empty piece ends the list.
fn json_lines<Row: Serialize + 'static>(
    mut next: impl FnMut(Option<&str>) -> (Vec<Row>, Option<String>) + Send + 'static,
) -> Response<Body> {
    let mut after: Option<String> = None;
    let pieces = std::iter::from_fn(move || {
        let (rows, last) = next(after.as_deref());
        after = Some(last?);
        let mut piece = Vec::new();
        for row in rows {
            // Rows are plain data; writing them to memory has nothing to fail on.
            serde_json::to_writer(&mut piece, &row).unwrap_or_default();
            piece.push(b'\n');
        }
        Some(Ok::<_, std::convert::Infallible>(Bytes::from(piece)))
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from_stream(futures_util::stream::iter(pieces)))
        .unwrap_or_default()
}
