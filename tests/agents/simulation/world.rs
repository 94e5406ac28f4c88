//! A simulated network with a Fairlead and some agents.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use fairlead::channel::{Channel, Metrics};
use fairlead::config::ChannelConfig;
use fairlead::telemetry::metrics::Metrics as Registry;
use turmoil::Sim;

use super::agent::{self, Character, PORT, Shared};

/// As it is shipped, with more YAML laid over it.
pub fn config(yaml: &str) -> ChannelConfig {
    fairlead::config::load_text(yaml, &[]).unwrap().settings.channel.unwrap()
}

/// A simulation with this seed, on which nothing lives yet.
pub fn sim(seed: u64, tick: Duration, latency: Duration) -> Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(tick)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(latency)
        .simulation_duration(Duration::from_secs(1 << 24))
        .enable_random_order()
        .tcp_capacity(4_096)
        .build()
}

/// Puts agents into it; what they have in mind comes back by name.
pub fn agents(sim: &mut Sim<'static>, characters: &[Character], seed: u64) -> BTreeMap<String, Shared> {
    let minds: BTreeMap<String, Shared> = characters.iter().map(|who| (who.name.clone(), Shared::default())).collect();
    for (n, who) in characters.iter().enumerate() {
        let (who, mind, seed) = (who.clone(), minds[&who.name].clone(), seed.wrapping_add(n as u64));
        sim.host(who.name.clone(), move || agent::live(who.clone(), mind.clone(), seed));
    }
    minds
}

/// A channel of a Fairlead that has just begun.
pub async fn channel(config: &ChannelConfig) -> Arc<Channel> {
    let metrics = Registry::new().register(Metrics::register);
    Channel::new(config, None, "simulated", metrics).await
}

/// Lets agents in.
pub async fn listen(channel: Arc<Channel>) -> Result<(), std::io::Error> {
    let listener = turmoil::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(channel.clone().connection(stream, peer));
    }
}

/// So much of simulated time.
pub fn pass(sim: &mut Sim<'static>, time: Duration) {
    let until = sim.elapsed() + time;
    while sim.elapsed() < until {
        sim.step().unwrap_or_else(|e| panic!("something in the simulation has failed: {e}"));
    }
}
