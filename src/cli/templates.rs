//! `etalon templates`.

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::{Format, Global, print};
use crate::problem::suggest;
use crate::spec::Workspace;

#[derive(Args)]
pub(super) struct TemplatesArgs {
    /// Template to print, such as judge/rubric.j2; all are listed unless given
    name: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &TemplatesArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    let library = &workspace.library;
    let names = library.names();
    let Some(name) = &arguments.name else {
        let origin = |name: &str| if library.is_own(name) { "workspace" } else { "built in" };
        match global.format {
            Format::Text => {
                let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
                let lines: Vec<String> =
                    names.iter().map(|name| format!("{name:<longest$}  {}", origin(name))).collect();
                print(&lines.join("\n"));
            }
            Format::Json => {
                let templates: Vec<_> =
                    names.iter().map(|name| json!({ "name": name, "from": origin(name) })).collect();
                print(&json!({ "etalon": 1, "templates": templates }).to_string());
            }
        }
        return Ok(exit::OK);
    };
    let missing = || {
        let help = suggest(name, "templates there are", names.iter().map(String::as_str));
        Exit::usage(format!("there is no template {name}"), help)
    };
    let source = library.find(name).map_err(|message| Exit::usage(message, None))?.ok_or_else(missing)?;
    match global.format {
        Format::Text => print(source.text.trim_end_matches('\n')),
        Format::Json => print(&json!({ "etalon": 1, "name": name, "text": source.text }).to_string()),
    }
    Ok(exit::OK)
}
