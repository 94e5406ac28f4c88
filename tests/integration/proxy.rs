//! Claims about the data plane, between raw sockets: what a client wrote is what the origin read, and back, byte for byte; and when
//! something breaks, nobody takes it for whole.

mod broken;
mod chunks;
mod drain;
mod faults;
mod fidelity;
mod frames;
mod gate;
mod interim;
mod limits;
mod pace;
mod pool;
mod raw;
mod rig;
mod smuggling;
mod spread;
mod streams;
pub mod tls;
mod trailers;
mod upgrade;
