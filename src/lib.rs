//! Fairlead stands in front of Spinnaker's Clouddriver and leads the account changes that pass to where they belong.
//!
//! The life of a request, in the order of the modules below:
//!
//! 1. [`proxy`] accepts it on a data-plane thread (one current-thread runtime for each core) and would hand it on as it came;
//! 2. [`intercept`] looks at its path: an account change is announced to the mirror before its body leaves;
//! 3. [`mirror`] journals the intent, and once the answer is known settles the name by reading what Clouddriver stores;
//! 4. [`source`] is that reading (by SQL, or by Clouddriver's own API), and never writes;
//! 5. [`store`] holds Fairlead's own tables, `kubesvc_accounts` first among them;
//! 6. [`api`] answers `/armory/**` and `/agents/kubernetes/**` from the store;
//! 7. [`dispatch`] looks at the rows and tells agents what they should have, along the table of [`lifecycle`];
//! 8. [`channel`] is the port that the agents connect to, [`wire`] what is said there, and [`agent`] the far end, a program of its own;
//! 9. [`scan`] finds by their names ([`patterns`]) the accounts that Clouddriver has already, and [`inspect`] looks without touching.
//!
//! [`config`] turns the operator's files into typed settings, [`tls`] reads certificates and keys, [`secrets`] what definitions refer to,
//! [`telemetry`] is logs, metrics and the admin listener, [`demo`] a stand-in for Clouddriver's Account Management, and [`app`] the only
//! place that knows all parts. Which part may look at which is a table in `docs/life-of-a-request.md`, and a test.

pub mod account;
pub mod agent;
pub mod api;
pub mod app;
pub mod channel;
pub mod config;
pub mod demo;
pub mod dispatch;
#[doc(hidden)]
pub mod failpoint;
pub mod inspect;
pub mod intercept;
pub mod lifecycle;
pub mod mirror;
pub mod patterns;
pub mod proxy;
pub mod scan;
pub mod secrets;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod wire;
