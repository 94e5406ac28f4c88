//! The configuration changes while the agent runs.

use std::os::unix::fs::symlink;

use fairlead::demo::Cluster;

use super::rig::{Rig, yaml};
use super::scripted::Scripted;

fn with_account(base: &str, name: &str, kubeconfig: &std::path::Path) -> String {
    format!("{base}kubernetes.accounts: [{{ name: {name}, kubeConfigFile: \"{}\" }}]\n", kubeconfig.display())
}

#[tokio::test]
async fn accounts_of_a_changed_file_are_registered_anew_and_a_bad_file_changes_nothing() {
    let mut fairlead = Scripted::start().await;
    let cluster = Cluster::start("t").await.unwrap();
    let base = yaml(fairlead.address, "");
    let rig = Rig::start(&base).await;
    let (mut session, register) = fairlead.registered(1).await;
    assert_eq!(register.accounts, []);
    let kubeconfig = rig.folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig("t")).unwrap();
    std::fs::write(rig.file(), with_account(&base, "own", &kubeconfig)).unwrap();
    let register = session.register().await;
    assert_eq!(register.accounts.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["own"]);
    rig.until("/accounts", |_, body| body[0]["State"]["Name"] == "Healthy").await;

    std::fs::write(rig.file(), "kubernetes.accounts: [{ name: 'a b', serviceAccount: maybe }]").unwrap();
    rig.measures("fairlead_agent_configuration_reloads_total{result=\"refused\"} 1").await;
    assert_eq!(rig.get("/accounts").await.1[0]["Config"]["Name"], "own");
    // Better again, with another account: the session is the same one.
    std::fs::write(rig.file(), with_account(&base, "other", &kubeconfig)).unwrap();
    let register = session.register().await;
    assert_eq!(register.accounts.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["other"]);
    // The kubeconfig alone changes.
    rig.until("/accounts", |_, body| body[0]["State"]["Name"] == "Healthy").await;
    std::fs::write(&kubeconfig, cluster.kubeconfig("revoked")).unwrap();
    session.register().await;
    rig.until("/accounts", |_, body| body[0]["State"]["Name"] == "DiscoveryError").await;
    assert!(fairlead.is_quiet());
}

#[tokio::test]
async fn a_mounted_config_map_that_turns_to_another_fairlead_is_followed() {
    let (mut one, mut two) = (Scripted::start().await, Scripted::start().await);
    // As a volume has it: the file is a link into a folder that is a link.
    let rig = Rig::start(&yaml(one.address, "")).await;
    one.registered(1).await;
    let folder = rig.folder.path();
    for (name, address) in [("..1", one.address), ("..2", two.address)] {
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("armory-agent.yml"), yaml(address, "")).unwrap();
    }
    symlink("..1", folder.join("..data")).unwrap();
    std::fs::remove_file(rig.file()).unwrap();
    symlink("..data/armory-agent.yml", rig.file()).unwrap();
    symlink("..2", folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    two.registered(1).await;
}
