//! Both programs as processes, with a stand-in for an API server: what only whole programs can show.

mod outage;
mod proxies;
mod renewed;
mod rig;
