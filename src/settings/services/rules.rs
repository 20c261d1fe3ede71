//! The rules of the plan, from the settings.

use std::fmt::Write;
use std::time::Duration;

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

/// Says by how much all periods were scaled down, and why, if they were.
pub(crate) fn about_scaling(services: &Services, rules: &Rules) -> Option<String> {
    /// The most services that are named.
    const MOST: usize = 10;
    let scaled = rules.budget().scaled.as_ref()?;
    let with_period = scaled.chain.iter().filter_map(|id| {
        let service = services.list.get(id.0)?;
        let is_one_shot = service.ready == Ready::Exited;
        (service.stop_grace_period.is_some() && !is_one_shot).then_some(service.name.as_str())
    });
    let names: Vec<&str> = with_period.collect();
    let more = names.len().saturating_sub(MOST);
    let mut shown = names.get(..MOST).unwrap_or(&names).join(", ");
    if more > 0 {
        let _ = write!(shown, " and {more} more");
    }
    let seconds = |time: Duration| (time.as_secs_f64() * 100.0).round() / 100.0;
    let (periods, allowed) = (seconds(scaled.periods), seconds(scaled.allowed));
    let factor = scaled.allowed.as_secs_f64() / scaled.periods.as_secs_f64();
    Some(format!(
        "stop_grace_period: those of {shown} add up to {periods}s, but may take {allowed}s; all are \
         scaled by {factor:.2}; raise the grace period or lower them"
    ))
}
