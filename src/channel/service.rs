//! The gRPC services of the agents' port: AgentService, health, reflection.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::server::HealthReporter;

use super::admit::DEFAULT_LIMIT;
use super::outbox::{self, Outgoing};
use super::registry::Registry;
use super::report::{self, Credits};
use super::session;
use crate::wire::agent_service_server::{AgentService, AgentServiceServer};
use crate::wire::{DESCRIPTORS, OperateRequest, ReportRequest};

/// Where a request's connection comes from, as its extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

#[derive(Debug)]
pub(super) struct Service {
    registry: Arc<Registry>,
    tasks: TaskTracker,
}

#[tonic::async_trait]
impl AgentService for Service {
    type OperateStream = Outgoing;
    type ReportStream = Credits;

    async fn operate(&self, request: Request<Streaming<OperateRequest>>) -> Result<Response<Outgoing>, Status> {
        let peer = request.extensions().get::<Peer>().map_or_else(|| "unknown".to_owned(), |p| p.0.to_string());
        let (outbox, outgoing, gone) = outbox::new();
        self.tasks.spawn(session::run(self.registry.clone(), request.into_inner(), outbox, gone, peer.into()));
        Ok(Response::new(outgoing))
    }

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Credits>, Status> {
        let credits = Credits::new();
        self.tasks.spawn(report::run(self.registry.clone(), request.into_inner(), credits.clone()));
        Ok(Response::new(credits))
    }
}

/// All services, and what health says of them where it is served.
pub(super) async fn routes(registry: Arc<Registry>, tasks: TaskTracker, health: bool) -> (Routes, Option<HealthReporter>) {
    // Before Registered an agent knows no other limit than the one of the protocol.
    let limit = registry.limits.max_message.max(DEFAULT_LIMIT);
    let service = AgentServiceServer::new(Service { registry, tasks }).max_decoding_message_size(limit);
    let mut routes = Routes::new(service);
    let describe = || {
        let all = tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
        if health { all.register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET) } else { all }
    };
    // The descriptors are compiled in, and a test reads them; without reflection agents would still be served.
    match (describe().build_v1(), describe().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        (Err(e), _) | (_, Err(e)) => tracing::error!(error = %e, "reflection is not served"),
    }
    if !health {
        return (routes.prepare(), None);
    }
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_serving::<AgentServiceServer<Service>>().await;
    (routes.add_service(service).prepare(), Some(reporter))
}

/// The services are about to go.
pub(super) async fn not_serving(reporter: &HealthReporter) {
    reporter.set_not_serving::<AgentServiceServer<Service>>().await;
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}
