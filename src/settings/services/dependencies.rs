//! Which service depends on which, by their names.

use std::collections::BTreeMap;

use super::findings::quoted;
use super::graph;
use super::service::Draft;
use super::text::Context;
use crate::settings::nearest::nearest;

impl Context<'_> {
    /// What each service depends on, as indices.
    pub(super) fn dependencies(&mut self, drafts: &[Draft]) -> Vec<Vec<usize>> {
        // Not collected, which would bring a sort of its own into the program.
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            names.insert(&draft.name, index);
        }
        let mut graph = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut edges = Vec::new();
            for text in &draft.depends_on {
                let Some(value) = &text.value else {
                    continue;
                };
                let name = std::str::from_utf8(value).unwrap_or_default();
                if let Some(index) = names.get(name) {
                    edges.push(*index);
                    continue;
                }
                // A near name would reveal the value of a variable.
                let near = (!text.is_replaced).then(|| nearest(name, names.keys().copied()));
                let advice = match near.flatten() {
                    Some(near) => format!("did you mean {near}?"),
                    None => "add [services.NAME] for it, or remove it here".to_owned(),
                };
                let text_of_error = format!("{} is not a service; {advice}", quoted(&text.shown));
                self.findings.error(text.place, text_of_error);
            }
            graph.push(edges);
        }
        for circle in graph::circles(&graph) {
            self.refuse_circle(drafts, &circle);
        }
        graph
    }

    fn refuse_circle(&mut self, drafts: &[Draft], circle: &[usize]) {
        let on_it: Vec<&Draft> = circle.iter().filter_map(|at| drafts.get(*at)).collect();
        let Some(first) = on_it.first() else {
            return;
        };
        let names: Vec<&str> = on_it
            .iter()
            .chain([first])
            .map(|draft| &*draft.name)
            .collect();
        let text = format!(
            "services depend on each other in a circle: {}; remove one of these from depends_on",
            names.join(" -> ")
        );
        self.findings.error(first.place, text);
    }
}
