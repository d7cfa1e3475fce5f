//! `etalon init`: a workspace that runs offline at once.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::exit::{self, Exit};
use super::{Format, Global, print};
use crate::files;
use crate::plan;

#[derive(Args)]
pub(super) struct InitArgs {
    /// What to begin with
    #[arg(long, value_enum, default_value_t = Start::Ab)]
    template: Start,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Start {
    /// A tuned model against its base: answers compared and graded by a judge
    Ab,
    /// Messages put into classes: precision, recall, F1, by language
    Classify,
    /// Structured output: JSON, its schema, its fields
    Json,
    /// Answers that you already have, graded by a judge
    Judge,
}

/// A file to write: its path in the workspace, and its text.
type File = (&'static str, &'static str);

const GRADER: File = ("templates/demo/grader.j2", include_str!("../../templates/workspaces/grader.j2"));

const SETTINGS: File = (
    "etalon.toml",
    "# The workspace: relative paths in pipelines start here. Models declared here can be used by every\n# pipeline; a pipeline's own wins:\n#\n# [models.base]\n# provider = \"openai\"\n# base_url = \"http://127.0.0.1:8000/v1\"\n# model = \"my-base\"\n# revision = \"main\"\n",
);

impl Start {
    fn name(self) -> &'static str {
        match self {
            Start::Ab => "ab",
            Start::Classify => "classify",
            Start::Json => "json",
            Start::Judge => "judge",
        }
    }

    fn files(self) -> &'static [File] {
        match self {
            Start::Ab => &[
                ("pipelines/ab.yaml", include_str!("../../templates/workspaces/ab/pipeline.yaml")),
                ("data/ab/rows.jsonl", include_str!("../../templates/workspaces/ab/rows.jsonl")),
                ("data/ab/recorded.jsonl", include_str!("../../templates/workspaces/ab/recorded.jsonl")),
                GRADER,
            ],
            Start::Classify => &[
                ("pipelines/classify.yaml", include_str!("../../templates/workspaces/classify/pipeline.yaml")),
                ("data/classify/rows.jsonl", include_str!("../../templates/workspaces/classify/rows.jsonl")),
                ("data/classify/recorded.jsonl", include_str!("../../templates/workspaces/classify/recorded.jsonl")),
            ],
            Start::Json => &[
                ("pipelines/json.yaml", include_str!("../../templates/workspaces/json/pipeline.yaml")),
                ("data/json/rows.jsonl", include_str!("../../templates/workspaces/json/rows.jsonl")),
                ("data/json/recorded.jsonl", include_str!("../../templates/workspaces/json/recorded.jsonl")),
                ("data/json/reply.schema.json", include_str!("../../templates/workspaces/json/reply.schema.json")),
            ],
            Start::Judge => &[
                ("pipelines/judge.yaml", include_str!("../../templates/workspaces/judge/pipeline.yaml")),
                ("data/judge/rows.jsonl", include_str!("../../templates/workspaces/judge/rows.jsonl")),
                GRADER,
            ],
        }
    }
}

pub(super) fn run(global: &Global, arguments: &InitArgs) -> Result<u8, Exit> {
    let root = global.workspace.clone().unwrap_or_else(|| PathBuf::from("."));
    let schema = serde_json::to_string_pretty(&plan::schema()).expect("schemas serialise") + "\n";
    let files = [SETTINGS, ("etalon.schema.json", &*schema)];
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    for (name, text) in files.iter().chain(arguments.template.files()) {
        // A file that exists is kept as it is.
        let is_new = files::write_new(&root.join(name), text.as_bytes())
            .map_err(|error| Exit::usage(format!("failed to write {}: {error}", root.join(name).display()), None))?;
        if is_new {
            written.push(*name)
        } else {
            kept.push(*name)
        };
    }
    match global.format {
        Format::Json => print(&json!({ "etalon": 1, "written": written, "kept": kept }).to_string()),
        Format::Text => {
            written.iter().for_each(|name| print(&format!("wrote  {name}")));
            kept.iter().for_each(|name| print(&format!("kept   {name}, which was there")));
            let name = arguments.template.name();
            print(&format!(
                "\netalon run {name}        runs it, offline as it stands\netalon run {name}        once more: everything is cached\nThen open pipelines/{name}.yaml: its first lines say how to ask your own server."
            ));
        }
    }
    Ok(exit::OK)
}
