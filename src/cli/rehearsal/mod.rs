//! A world to rehearse in: both laboratories, a folder with a ledger, and the configuration that a
//! gateway between them runs with. The demo and the soak each have one.

mod configuration;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build;
use super::failure::{Exit, Failure};
use super::lab::Way;
use crate::clock::Clock;
use crate::config::Config;
use crate::lab::certificates;
use crate::lab::population::PopulationOptions;
use crate::lab::portal::{Faults, LabPortal, PortalOptions, Quota, Window, WindowKind};
use crate::lab::province::{Province, ProvinceOptions};
use crate::ledger::view::Standing;

/// What the world is like.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub dossiers: u32,
    /// The same seed draws the same dossiers and faults.
    pub seed: u64,
    /// Changes that the province makes by itself, and their pace.
    pub changes_total: u64,
    pub changes_per_second: f64,
    /// What goes wrong at the portal.
    pub faults: Faults,
    pub profile: Way,
    /// HTTPS on both sides, with client certificates.
    pub tls: bool,
    /// The portal's quota, and the gateway's: at most so many calls in any so many milliseconds.
    pub windows: Vec<(u32, u64)>,
    /// Share of the quota that the gateway leaves unused.
    pub headroom: f64,
    /// Look-ups that one reconciliation may spend.
    pub look_ups_max: u32,
    /// Level of the gateway's log.
    pub log_level: &'static str,
}

/// A running world. The gateway is somebody else's.
pub(super) struct World {
    pub province: Province,
    pub portal: LabPortal,
    pub config: Config,
    /// Where that configuration stands.
    pub file: PathBuf,
}

impl World {
    /// Starts the laboratories and writes the configuration into the folder.
    pub(super) async fn open(
        plan: &Plan,
        folder: &Path,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        // One folder a side, as two operators would hand them out.
        let tls = |side: &str| {
            plan.tls.then(|| certificates::write(&folder.join(side), true)).transpose()
        };
        let province = ProvinceOptions {
            tls: tls("tls-province").map_err(laboratory)?,
            population: PopulationOptions {
                seed: plan.seed,
                dossiers: plan.dossiers,
                ..PopulationOptions::default()
            },
            changes_total: plan.changes_total,
            changes_per_second: plan.changes_per_second,
            ..ProvinceOptions::default()
        };
        let province =
            crate::lab::province::start(province, Arc::clone(clock)).await.map_err(laboratory)?;
        let windows = plan.windows.iter().map(|(limit, window_ms)| Window {
            limit: *limit,
            window_ms: *window_ms,
            kind: WindowKind::SlidingAttempts,
        });
        let options = PortalOptions {
            tls: tls("tls-portal").map_err(laboratory)?,
            profile: plan.profile.profile(),
            // Short enough that tokens end in mid-run.
            token_seconds: 5,
            seed: plan.seed,
            faults: plan.faults.clone(),
            quota: Quota { windows: windows.collect(), retry_after: true },
            // Nobody reads it, and it would grow for as long as the world lasts.
            journal_limit: 0,
            ..PortalOptions::default()
        };
        let account = configuration::Account::of(&options);
        let portal =
            crate::lab::portal::start(options, Arc::clone(clock)).await.map_err(laboratory)?;

        let text = configuration::text(plan, &province.url(), &portal.url(), &account);
        let file = folder.join("hoso.toml");
        account
            .write(folder)
            .and_then(|()| std::fs::write(&file, &text))
            .map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", file.display())))?;
        Ok(Self { province, portal, config: build::config(Some(&file))?, file })
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        self.province.shutdown().await.map_err(laboratory)?;
        self.portal.shutdown().await.map_err(laboratory)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err calls")]
fn laboratory(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("a laboratory: {error}"))
}

/// The faults of this name.
pub(super) fn faults(name: &str) -> Result<Faults, Failure> {
    Faults::preset(name).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--faults {name}: no such preset"))
            .hint("use none, some or many")
    })
}

/// Nothing is on its way, neither packets nor steps.
pub(super) fn is_quiet(standing: &Standing) -> bool {
    let open = standing.dossiers.iter().filter(|(state, _)| state.is_open());
    open.map(|(_, count)| *count).sum::<u64>() == 0 && owed_steps(standing) == 0
}

/// Steps that are yet to go.
pub(super) fn owed_steps(standing: &Standing) -> u64 {
    ["pending", "leased"].iter().filter_map(|state| standing.steps.get(*state)).sum()
}

/// A temporary folder, or the one to keep.
pub(super) struct Folder {
    pub path: PathBuf,
    temporary: bool,
}

impl Folder {
    pub(super) fn open(keep: Option<PathBuf>, purpose: &str) -> Result<Self, Failure> {
        let temporary = keep.is_none();
        let path = keep.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("hoso-{purpose}-{}", std::process::id()))
        });
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
        };
        std::fs::create_dir_all(&path).map_err(failed)?;
        if path.join("ledger.db").exists() {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} already holds a ledger", path.display()),
            )
            .hint("name an empty folder: it begins with a province nobody has seen before"));
        }
        Ok(Self { path, temporary })
    }

    pub(super) fn keep(&mut self) {
        self.temporary = false;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, folder = %self.path.display(), "the folder stays");
        }
    }
}
