//! What is measured and how large, as the environment says.

use std::path::PathBuf;

/// A group of figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Many agents on one process, and its restarts.
    Crowd,
    /// Many accounts on their way to ACTIVE.
    Accounts,
    /// Operations, one after the other on each agent, many agents at a time.
    Operations,
    /// One real agent with many accounts.
    Agent,
    /// Requests with many entries.
    Batch,
}

const PARTS: [(&str, Part); 5] = [
    ("crowd", Part::Crowd),
    ("accounts", Part::Accounts),
    ("operations", Part::Operations),
    ("agent", Part::Agent),
    ("batch", Part::Batch),
];

/// The whole run.
pub struct Plan {
    pub parts: Vec<Part>,
    /// The Fairlead to measure, and the agent beside it.
    pub fairlead: PathBuf,
    pub agent: PathBuf,
    /// Simulated agents of the crowd.
    pub crowd: usize,
    /// Accounts that are activated at once, and among how many agents (each in a zone of its own).
    pub accounts: usize,
    pub account_agents: usize,
    /// Agents of the operations' part, operations of it, and how many are under way at a time.
    pub operation_agents: usize,
    pub operations: usize,
    pub under_way: usize,
    /// Accounts of the one real agent.
    pub agent_accounts: usize,
    /// Most entries of a request.
    pub batch: usize,
    /// MariaDB, as `mysql://root@host:port`; the embedded database is always measured.
    pub mariadb: Option<String>,
    /// PostgreSQL, as `postgres://postgres@host:port`.
    pub postgres: Option<String>,
}

impl Plan {
    /// `FAIRLEAD_BENCH_*`; docs/performance.md has them.
    pub fn from_environment() -> Self {
        let fairlead = PathBuf::from(variable("PROGRAM").expect("FAIRLEAD_BENCH_PROGRAM, the Fairlead to measure"));
        let mut plan = Self {
            parts: PARTS.map(|(_, part)| part).to_vec(),
            agent: variable("AGENT").map_or_else(|| fairlead.with_file_name("fairlead-agent"), PathBuf::from),
            fairlead,
            crowd: 10_000,
            accounts: 10_000,
            account_agents: 100,
            operation_agents: 1_000,
            operations: 20_000,
            under_way: 64,
            agent_accounts: 100,
            batch: 10_000,
            mariadb: std::env::var("FAIRLEAD_TEST_MARIADB").ok().filter(|url| !url.is_empty()),
            postgres: std::env::var("FAIRLEAD_TEST_POSTGRES").ok().filter(|url| !url.is_empty()),
        };
        match variable("LENGTH").as_deref() {
            None | Some("full") => {}
            Some("quick") => {
                (plan.crowd, plan.accounts, plan.account_agents) = (1_000, 1_000, 20);
                (plan.operation_agents, plan.operations, plan.agent_accounts) = (100, 2_000, 20);
                plan.batch = 1_000;
            }
            Some(other) => panic!("FAIRLEAD_BENCH_LENGTH: {other} is neither full nor quick"),
        }
        for (name, place) in [
            ("CROWD", &mut plan.crowd),
            ("ACCOUNTS", &mut plan.accounts),
            ("OPERATIONS", &mut plan.operations),
            ("AGENT_ACCOUNTS", &mut plan.agent_accounts),
            ("BATCH", &mut plan.batch),
        ] {
            if let Some(text) = variable(name) {
                *place =
                    text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("FAIRLEAD_BENCH_{name}: {text} is no number above 0"));
            }
        }
        if let Some(words) = variable("PARTS") {
            let part = |word: &str| PARTS.iter().find(|(name, _)| *name == word).map(|(_, part)| *part);
            plan.parts = words
                .split_whitespace()
                .map(|word| {
                    part(word).unwrap_or_else(|| panic!("FAIRLEAD_BENCH_PARTS: {word} is none of {:?}", PARTS.map(|(name, _)| name)))
                })
                .collect();
        }
        plan
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("FAIRLEAD_BENCH_{name}")).ok().filter(|text| !text.is_empty())
}
