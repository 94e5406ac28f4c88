//! The lifecycle with real agents and real API servers: what is only ever asserted against the real ones.

mod rig;

use super::report::Report;
use super::world::World;
use crate::support::kube;

pub async fn run(report: &Report, world: &World) {
    if kube::programs().is_none() {
        report.left_out("the suites with real API servers: FAIRLEAD_E2E_KUBE names no folder of programs (scripts/kube.sh)");
        return;
    }
    rig::run(report, world).await;
}
