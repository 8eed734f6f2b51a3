//! Laboratories as processes of their own, and what the system says about a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hoso_gateway::http::{Http, HttpRequest, Method, ReqwestHttp};

/// A laboratory (the real `hoso lab`), ended when dropped.
pub(crate) struct Lab {
    child: Child,
    pub(crate) url: String,
}

impl Lab {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hoso"))
            .arg("lab")
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the laboratory starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the laboratory says where it listens");
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        Self { child, url }
    }

    pub(crate) async fn state(&self, http: &ReqwestHttp) -> serde_json::Value {
        let body = get(http, format!("{}/lab/state", self.url)).await;
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.child.kill().expect("the laboratory ends");
        self.child.wait().expect("the laboratory ended");
    }
}

pub(crate) async fn post(http: &ReqwestHttp, url: String, body: String) -> bytes::Bytes {
    let request = HttpRequest {
        method: Method::Post,
        url,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.into(),
        timeout: Duration::from_secs(10),
        answer_bytes_max: 1 << 20,
    };
    http.send(request).await.expect("the laboratory answers").body
}

pub(crate) async fn get(http: &ReqwestHttp, url: String) -> bytes::Bytes {
    let request = HttpRequest {
        method: Method::Get,
        url,
        headers: Vec::new(),
        body: bytes::Bytes::new(),
        timeout: Duration::from_mins(1),
        answer_bytes_max: 1 << 28,
    };
    http.send(request).await.expect("the laboratory answers").body
}

/// Processor time of a process (`self` or a number), in seconds.
pub(crate) fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}

/// `VmHWM` (the peak) or `VmRSS` (now) of a process, in MB.
pub(crate) fn memory_mb(process: &str, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kb| kb.parse::<u64>().ok())
        .map_or(0, |kb| kb / 1024)
}
