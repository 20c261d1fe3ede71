//! The text of `--check`.

use crate::decide::plan::rules::Rules;
use crate::settings::services::Services;

/// Everything that `--check` prints.
pub(super) fn text(services: &Services, _rules: &Rules) -> String {
    let mut text = String::new();
    for service in &services.list {
        text.push_str(&service.name);
        text.push('\n');
    }
    text
}
