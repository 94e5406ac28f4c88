//! What the tests stand on: databases, a stand-in Clouddriver, processes.
