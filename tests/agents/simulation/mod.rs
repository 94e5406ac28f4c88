//! Fairlead and its agents on a network that is simulated: partitions, delays, restarts, from a seed that is printed.
//!
//! The channel's simulations run on a simulated clock alone, so what they say about time holds on a busy machine too. A run is repeated
//! with `FAIRLEAD_SIMULATION_SEED=N`; `FAIRLEAD_SIMULATIONS=N` makes so many runs of each, each with a seed of its own;
//! `FAIRLEAD_SIMULATION_LOG=fairlead=debug` shows what Fairlead says meanwhile.

mod agent;
mod channel;
mod dispatch;
mod link;
mod silence;
mod world;

/// Seeds of a simulation that is run `usual` times.
pub fn seeds(usual: usize) -> Vec<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text} is no number")))
    };
    if let Some(seed) = number("FAIRLEAD_SIMULATION_SEED") {
        return vec![seed];
    }
    let count = number("FAIRLEAD_SIMULATIONS").and_then(|n| usize::try_from(n).ok()).unwrap_or(usual);
    (0..count).map(|_| fastrand::u64(1..1_000_000_000)).collect()
}

/// Runs a simulation with each seed, as many at a time as there are CPUs. Who fails says its seed.
pub fn each_seed(usual: usize, simulation: impl Fn(u64) + Sync) {
    let seeds = seeds(usual);
    if let Ok(filter) = std::env::var("FAIRLEAD_SIMULATION_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_test_writer().try_init();
    }
    println!("seeds: {seeds:?}");
    let next = std::sync::atomic::AtomicUsize::new(0);
    let run = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation(*seed)));
            if let Err(panic) = ended {
                println!("the simulation with FAIRLEAD_SIMULATION_SEED={seed} has failed");
                std::panic::resume_unwind(panic);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run);
        }
    });
}
