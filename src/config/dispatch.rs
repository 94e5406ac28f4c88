//! How accounts reach their agents: the plugin's keys for retries and time-outs, and `fairlead.dispatch.*`, `fairlead.secrets.*`.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::settings::Limits;
use super::values;
use crate::secrets;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn read(reader: &mut Reader<'_>, scan_batch: u32) -> (Limits, secrets::Settings) {
    let seconds = |text: &str| values::number(1, 86_400)(text).map(Duration::from_secs);
    let max_retries = reader.required("kubesvc.dynamicAccounts.maxRetries", values::number(0, 1_000_000));
    let retry = reader.required("kubesvc.dynamicAccounts.retryFrequencySeconds", seconds);
    let (grace, grace_at) = reader.required_located("kubesvc.dynamicAccounts.orphanGraceSeconds", seconds);
    let (cleanup, cleanup_at) = reader.required_located("kubesvc.cache.accountCleanupFrequencySeconds", seconds);
    if cleanup < grace {
        let at = if cleanup_at.origin == super::remark::Origin::Default { grace_at } else { cleanup_at };
        reader.warn(&at, "kubesvc.cache.accountCleanupFrequencySeconds counts from the end of kubesvc.dynamicAccounts.orphanGraceSeconds, which is longer");
    }
    let wait = reader.required("kubesvc.cache.operationWaitMs", |text| values::number(100, 3_600_000)(text).map(Duration::from_millis));
    let fan_out = reader.required("fairlead.dispatch.fanOutZones", values::number(1, 10_000));
    let kubeconfig = reader.optional("fairlead.secrets.kubernetes.kubeconfig", values::text(4_096)).map(PathBuf::from);
    let timeout = reader.required("fairlead.secrets.timeout", values::duration(None, SECOND / 10, SECOND * 300));
    let limits = Limits {
        max_retries: u32::try_from(max_retries).unwrap_or(u32::MAX),
        retry,
        grace,
        cleanup,
        wait,
        fan_out: usize::try_from(fan_out).unwrap_or(usize::MAX),
        scan_batch,
    };
    (limits, secrets::Settings { kubeconfig, timeout })
}
