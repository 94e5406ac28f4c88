//! The lifecycle with real agents and real API servers: what is only ever asserted against the real ones.

mod crashes;
mod failures;
mod gated;
mod rig;
mod scanned;
mod scene;
mod seeds;
mod story;
mod zones;

use tokio::sync::{Mutex, OnceCell};

use super::report::Report;
use super::world::World;
use crate::support::databases::Server;
use crate::support::gate::Gate;
use crate::support::kube::{self, Cluster};

/// Clusters that the cases share, started when the first of them asks.
pub struct Clusters(OnceCell<Vec<Cluster>>);

impl Clusters {
    async fn get(&self) -> &[Cluster] {
        self.0.get_or_init(|| kube::clusters(3)).await
    }
}

/// None yet; `None`, and it is said, where they cannot be had.
fn clusters(report: &Report) -> Option<Clusters> {
    if kube::programs().is_none() {
        report.left_out("the suites with real API servers: FAIRLEAD_E2E_KUBE names no folder of programs (scripts/kube.sh)");
        return None;
    }
    Some(Clusters(OnceCell::new()))
}

/// The long form of what is otherwise done for some seconds.
pub async fn long(report: &Report, world: &World) {
    if let Some(clusters) = clusters(report) {
        story::one_request(report, world, &clusters, 1_000).await;
    }
}

pub async fn run(report: &Report, world: &World, gate: &Mutex<Option<Gate>>) {
    let Some(clusters) = clusters(report) else { return };
    story::run(report, world, &clusters).await;
    scanned::run(report, world, &clusters).await;
    scanned::many(report, world, &clusters).await;
    if world.cd.generation.is_old() {
        // What follows has nothing to do with Clouddriver's age.
        return;
    }
    crashes::run(report, world, &clusters).await;
    if world.server() == Server::MariaDb {
        rig::run(report, world).await;
        seeds::run(report, world, &clusters).await;
        zones::run(report, world, &clusters).await;
        failures::run(report, world, &clusters).await;
        gated::run(report, world, &clusters, gate).await;
    }
}
