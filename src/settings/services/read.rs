//! Reads files of services: from texts to checked settings.

use std::path::PathBuf;

use toml::de::DeTable;

use super::findings::{Findings, Source, quoted};
use super::service::{Common, Draft};
use super::text::{Context, Item, Wanted, entries};
use super::whole::Whole;
use super::{Given, Purpose, Services, World};
use super::{files, keys, syntax};

/// Reads the files at these paths, and of a directory all `*.toml` in order of name.
///
/// # Errors
/// One line for each error: the place, what is wrong, what to write instead. No line has a
/// value of `environment`, an argument of a program, or what a variable was replaced by.
pub(crate) fn read(
    paths: &[PathBuf],
    given: &Given,
    world: &World,
    purpose: Purpose,
) -> Result<Services, Vec<String>> {
    let mut findings = Findings::default();
    let sources = files::load(paths, &world.us, &mut findings);
    let is_whole = findings.has_no_errors();
    from_sources(&sources, is_whole, findings, given, world, purpose)
}

/// The same from texts. `is_whole`: no file is missing among them.
pub(super) fn from_sources(
    sources: &[Source],
    mut is_whole: bool,
    findings: Findings,
    given: &Given,
    world: &World,
    purpose: Purpose,
) -> Result<Services, Vec<String>> {
    let mut context = Context {
        world,
        purpose,
        sources,
        findings,
        is_off: false,
    };
    let mut whole = Whole::default();
    let mut defaults = Common::default();
    let mut drafts = Vec::new();
    for (file, source) in sources.iter().enumerate() {
        match syntax::parse(file, &source.text, &mut context.findings) {
            Some(table) => {
                let table = table.get_ref();
                context.file(table, file, &mut whole, &mut defaults, &mut drafts);
            }
            None => is_whole = false,
        }
    }
    let services = if is_whole {
        context.finish(&whole, given, &defaults, drafts)
    } else {
        // What is missing or unknown may be in the part that could not be read.
        None
    };
    let warnings = context.findings.into_lines(sources)?;
    services
        .map(|services| Services {
            warnings,
            ..services
        })
        .ok_or_else(Vec::new)
}

impl Context<'_> {
    /// Reads the table that a file is.
    fn file<'a>(
        &mut self,
        table: &'a DeTable<'a>,
        file: usize,
        whole: &mut Whole,
        defaults: &mut Common,
        drafts: &mut Vec<Draft>,
    ) {
        for (key, item) in entries(table, file) {
            match key.name {
                "services" => self.services(item, drafts),
                "defaults" => {
                    self.once(whole, key);
                    *defaults = self.defaults(item);
                }
                _ if self.key_of_all(whole, key, item) => {}
                unknown => {
                    let table = item.value.as_table();
                    let is_service = table.is_some_and(|table| table.contains_key("command"));
                    let text = keys::unknown_of_file(unknown, is_service);
                    self.findings.error(key.place, text);
                }
            }
        }
    }

    /// Reads the services of a file.
    fn services(&mut self, item: Item<'_>, drafts: &mut Vec<Draft>) {
        let Some(entries) = item.entries() else {
            let wanted = Wanted {
                is: "a table",
                advice: "write [services.NAME] for each service",
            };
            return self.wrong_type(item, "services", wanted);
        };
        // TOML has no table twice in one file.
        let earlier = drafts.len();
        for (key, item) in entries {
            let mut others = drafts.iter().take(earlier);
            if let Some(other) = others.find(|draft| draft.name == key.name) {
                let name = quoted(key.name);
                let first = other.place.name(self.sources);
                let text = format!(
                    "service {name} stands in two files, also at {first}; rename or remove one of \
                     them"
                );
                self.findings.error(key.place, text);
            }
            drafts.extend(self.service(key, item));
        }
    }
}
