//! HTTPS on both sides: who is let in, whose certificate is at fault, and what a fault costs.

use std::path::Path;
use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::failure::Disposition;
use hoso_gateway::lab::certificates::{Authority, Certified, ServerTls, Validity};
use tempfile::TempDir;

use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";
const HERE: [&str; 1] = ["127.0.0.1"];

/// An authority for servers and clients alike, and the folder where a gateway has its files.
struct Office {
    authority: Authority,
    folder: TempDir,
}

impl Office {
    fn open() -> Self {
        Self::named("thử nghiệm")
    }

    fn named(name: &str) -> Self {
        let office =
            Self { authority: Authority::new(name).unwrap(), folder: tempfile::tempdir().unwrap() };
        office.write("ca.pem", &office.authority.certificate_pem());
        office.hand_out(&office.authority.client("gateway", Validity::Good).unwrap());
        office
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Puts a client certificate where the gateway's configuration says it is.
    fn hand_out(&self, client: &Certified) {
        self.write("client.pem", &client.certificate_pem);
        self.write("client.key", &client.key_pem);
    }

    fn path(&self, name: &str) -> String {
        path(self.folder.path(), name)
    }

    fn server(&self, names: &[&str], validity: Validity) -> Certified {
        self.authority.server(names, validity).unwrap()
    }

    fn strict(&self) -> ServerTls {
        let server = self.server(&HERE, Validity::Good);
        ServerTls::new(&server, Some(&self.authority)).unwrap()
    }

    /// A section that trusts this office and shows its certificate.
    fn trusted_by(&self, story: Story, section: &'static str) -> Story {
        story
            .set(section, "ca_file", &self.path("ca.pem"))
            .set(section, "client_certificate_file", &self.path("client.pem"))
            .set(section, "client_key_file", &self.path("client.key"))
    }
}

fn path(folder: &Path, name: &str) -> String {
    format!("{:?}", folder.join(name).display().to_string())
}

/// A portal with this TLS, and one dossier that waits to be sent.
async fn one_dossier(mut story: Story, tls: ServerTls) -> TestGateway {
    story.portal.tls = Some(tls);
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    gateway.pull_and_map().await;
    gateway
}

/// Nothing was spent, everything waits, and this is why.
async fn assert_paused(gateway: &TestGateway, code: &str, message: &str) {
    gateway.push().await;
    let entry = gateway.entry(CODE, 1).await;
    assert_eq!((entry.state, entry.retries), (EntryState::Ready, 0));
    let status = gateway.line.gate.status();
    assert_eq!(status.state, "closed");
    let failure = status.reason.expect("a reason");
    assert_eq!((failure.code.as_str(), failure.disposition), (code, Disposition::Environment));
    assert!(failure.message.contains(message), "{failure}");
    assert!(gateway.portal.calls(None).is_empty(), "nothing was read");
}

/// Once mended, sending goes on by itself in the same process.
async fn assert_goes_on(gateway: TestGateway) {
    gateway.advance(Duration::from_secs(31)).await;
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert_eq!(gateway.portal.record(CODE).expect("a record").steps.len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn with_certificates_on_both_sides_everything_is_delivered() {
    let (province, portal) = (Office::open(), Office::open());
    let mut story = portal.trusted_by(province.trusted_by(Story::of(6), "source"), "portal");
    story.province.tls = Some(province.strict());
    story.portal.tls = Some(portal.strict());
    let gateway = story.start().await;
    assert!(gateway.province.url().starts_with("https://"));
    gateway.settle().await;
    gateway.assert_delivered();
    assert_eq!(gateway.reconcile().await.matched, 6);
    gateway.end().await;
}

#[tokio::test]
async fn without_a_client_certificate_nothing_is_sent_and_nothing_is_spent() {
    let office = Office::open();
    let story = Story::of(0).set("portal", "ca_file", &office.path("ca.pem"));
    let gateway = one_dossier(story, office.strict()).await;
    assert_paused(&gateway, "portal.client_certificate", "wants a client certificate").await;
    // Its operators stop asking for one.
    let server = office.server(&HERE, Validity::Good);
    gateway.portal.set_tls(ServerTls::new(&server, None).unwrap());
    assert_goes_on(gateway).await;
}

#[tokio::test]
async fn each_fault_of_the_portals_certificate_is_told_apart_and_mended_in_place() {
    // The second one has the name of the trusted one, but not its key.
    let strangers = [Office::named("một nơi khác"), Office::open()];
    let untrusted = "an authority that is not trusted here";
    for (names, validity, stranger, message) in [
        (&["127.0.0.1"], Validity::Good, Some(&strangers[0]), untrusted),
        (&["127.0.0.1"], Validity::Good, Some(&strangers[1]), untrusted),
        (&["127.0.0.1"], Validity::Expired, None, "has expired"),
        (&["other.example.invalid"], Validity::Good, None, "is for another name"),
    ] {
        let office = Office::open();
        let server = stranger.unwrap_or(&office).server(names, validity);
        let story = office.trusted_by(Story::of(0), "portal");
        let tls = ServerTls::new(&server, Some(&office.authority)).unwrap();
        let gateway = one_dossier(story, tls).await;
        assert_paused(&gateway, "portal.certificate", message).await;
        gateway.portal.set_tls(office.strict());
        assert_goes_on(gateway).await;
    }
}

#[tokio::test]
async fn a_renewed_client_certificate_is_taken_up_without_a_restart() {
    for (stranger, validity) in [
        (Some(Office::open()), Validity::Good),
        (Some(Office::named("một nơi khác")), Validity::Good),
        (None, Validity::Expired),
    ] {
        let office = Office::open();
        let issuer = stranger.as_ref().unwrap_or(&office);
        office.hand_out(&issuer.authority.client("gateway", validity).unwrap());
        let story = office.trusted_by(Story::of(0), "portal");
        let gateway = one_dossier(story, office.strict()).await;
        let message = "refused our client certificate";
        assert_paused(&gateway, "portal.client_certificate", message).await;
        office.hand_out(&office.authority.client("gateway", Validity::Good).unwrap());
        gateway.advance(Duration::from_secs(31)).await;
        // The refused connection is what makes the files be read anew.
        gateway.push().await;
        assert_goes_on(gateway).await;
    }
}

#[tokio::test]
async fn a_province_behind_a_foreign_certificate_is_not_read() {
    let (office, stranger) = (Office::open(), Office::open());
    let mut story = office.trusted_by(Story::of(3), "source");
    let server = stranger.server(&HERE, Validity::Good);
    story.province.tls = Some(ServerTls::new(&server, None).unwrap());
    let gateway = story.start().await;
    let failure = gateway.pull().await.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.disposition),
        ("source.certificate", Disposition::Environment)
    );
    gateway.province.set_tls(office.strict());
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}
