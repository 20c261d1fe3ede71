//! The rules of the plan, from the settings.

use super::{Ready, Restart, Service, Services};
use crate::decide::graph::{Graph, Id};
use crate::decide::plan::rules::{self, Rules};

/// The rules for these services; each has the place that it has in the list.
///
/// # Errors
/// The services depend on each other in a loop, which the reader refuses.
pub(crate) fn rules(services: &Services) -> Result<Rules, Vec<Id>> {
    let edges = |service: &Service| service.depends_on.iter().copied().map(Id).collect();
    let edges: Vec<Vec<Id>> = services.list.iter().map(edges).collect();
    let list = services.list.iter().map(rules_of).collect();
    let graph = Graph::new(&edges)?;
    Ok(Rules::new(list, graph, services.grace, services.stop_delay))
}

fn rules_of(service: &Service) -> rules::Service {
    rules::Service {
        ready: match &service.ready {
            Ready::Started => rules::Ready::Started,
            Ready::Notified => rules::Ready::Notified,
            Ready::Exited => rules::Ready::Exited,
            // Nothing tells whether a command would find another program than the service.
            Ready::Command(_) => rules::Ready::Checked { probe: false },
            Ready::Tcp(_) | Ready::Unix(_) | Ready::Http(_) => {
                rules::Ready::Checked { probe: true }
            }
        },
        ready_timeout: service.ready_timeout,
        period: service.stop_grace_period,
        restart: match service.restart {
            Restart::No => rules::Restart::No,
            Restart::OnFailure => rules::Restart::OnFailure,
            Restart::Always => rules::Restart::Always,
        },
        restart_limit: service.restart_limit,
        essential: service.essential,
        success: service.success_exit_codes.clone(),
        stop_signal: service.stop_signal,
    }
}
