//! The graph of a pipeline: as a tree for the terminal, as Mermaid, as DOT.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::plan::Plan;

/// A stage as a vertex of the graph.
struct Vertex<'a> {
    name: &'a str,
    kind: &'static str,
    input: Option<&'a str>,
    /// The models for which it has a node.
    models: Vec<&'a str>,
    /// The models that it calls.
    callees: Vec<&'a str>,
}

fn vertices(plan: &Plan) -> Vec<Vertex<'_>> {
    let mut vertices: Vec<Vertex<'_>> = Vec::new();
    for node in &plan.nodes {
        let vertex = match vertices.iter_mut().find(|vertex| vertex.name == node.stage_name) {
            Some(vertex) => vertex,
            None => {
                vertices.push(Vertex {
                    name: &node.stage_name,
                    kind: node.stage.kind(),
                    input: node.stage.input().map(|(input, _)| input),
                    models: Vec::new(),
                    callees: Vec::new(),
                });
                vertices.last_mut().expect("it was pushed")
            }
        };
        vertex.models.extend(node.model.as_deref());
        for (_, callee) in &node.callees {
            if !vertex.callees.contains(&callee.as_str()) {
                vertex.callees.push(callee);
            }
        }
    }
    vertices
}

impl Vertex<'_> {
    /// Returns what the stage is, in a few words: `inference of base, tuned`, `judge by grader`.
    fn words(&self) -> String {
        let is_judge = self.callees.iter().any(|callee| !self.models.contains(callee));
        match (self.kind, self.models.as_slice()) {
            (kind, _) if is_judge => format!("{kind} by {}", self.callees.join(", ")),
            (kind @ "inference", models) => format!("{kind} by {}", models.join(", ")),
            (kind, _) => kind.to_owned(),
        }
    }
}

/// Renders the graph as a tree for the terminal.
pub fn graph_text(plan: &Plan) -> String {
    let vertices = vertices(plan);
    let mut out = String::new();
    let roots: Vec<&Vertex<'_>> = vertices.iter().filter(|vertex| vertex.input.is_none()).collect();
    for root in roots {
        out.push_str(&format!("{}  {}\n", root.name, root.words()));
        branches(&vertices, root.name, "", &mut out);
    }
    out
}

fn branches(vertices: &[Vertex<'_>], of: &str, indent: &str, out: &mut String) {
    let children: Vec<&Vertex<'_>> = vertices.iter().filter(|vertex| vertex.input == Some(of)).collect();
    for (index, child) in children.iter().enumerate() {
        let (branch, below) = if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        out.push_str(&format!("{indent}{branch}{}  {}\n", child.name, child.words()));
        branches(vertices, child.name, &format!("{indent}{below}"), out);
    }
}

/// Renders the graph as Mermaid, which GitHub draws as a picture.
pub fn graph_mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart LR\n");
    for vertex in vertices(plan) {
        let (open, close) = match vertex.kind {
            "dataset" => ("[(", ")]"),
            "judge" => ("{{", "}}"),
            _ => ("[", "]"),
        };
        out.push_str(&format!("  s_{}{open}\"{}<br/>{}\"{close}\n", vertex.name, vertex.name, vertex.words()));
        out.extend(vertex.input.map(|input| format!("  s_{input} --> s_{}\n", vertex.name)));
    }
    out
}

/// Renders the graph as DOT.
pub fn graph_dot(plan: &Plan) -> String {
    let mut out = format!("digraph {:?} {{\n  rankdir=LR;\n  node [shape=box];\n", plan.spec.name);
    for vertex in vertices(plan) {
        out.push_str(&format!("  {:?} [label=\"{}\\n{}\"];\n", vertex.name, vertex.name, vertex.words()));
        out.extend(vertex.input.map(|input| format!("  {input:?} -> {:?};\n", vertex.name)));
    }
    out.push_str("}\n");
    out
}

/// Returns the graph as JSON: its nodes and edges.
pub fn graph_json(plan: &Plan) -> Value {
    let nodes: Vec<Value> = plan
        .nodes
        .iter()
        .map(|node| json!({ "node": node.name, "stage": node.stage_name, "kind": node.stage.kind(), "model": node.model }))
        .collect();
    let edges: BTreeSet<(&str, &str)> = plan
        .nodes
        .iter()
        .flat_map(|node| node.inputs.iter().map(|(_, input)| (plan.nodes[*input].name.as_str(), node.name.as_str())))
        .collect();
    let edges: Vec<Value> = edges.into_iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    json!({ "etalon": 1, "nodes": nodes, "edges": edges })
}
