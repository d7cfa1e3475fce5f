//! Tests of templates: what they read, what is refused, and where an error points.

use std::collections::BTreeSet;

use minijinja::{Value, context};

use super::*;

const VARIABLES: &[&str] = &["row", "params", "model"];

fn place(text: &str) -> Place {
    let source = Arc::new(Source { path: "pipelines/a.yaml".into(), text: text.into() });
    Place { range: 0..text.len(), source }
}

fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, Library) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let library = Library::new(directory.path().to_owned());
    (directory, library)
}

fn load(text: &str) -> Template {
    let (_directory, library) = library(&[]);
    Template::load(&library, text, &place(text), VARIABLES).map_err(|p| format!("{p:?}")).unwrap()
}

fn reads(text: &str) -> Attrs {
    load(text).reads.of("row")
}

fn some(names: &[&str]) -> Attrs {
    Attrs::Some(names.iter().map(ToString::to_string).collect::<BTreeSet<_>>())
}

#[test]
fn reads_only_the_named_columns() {
    assert_eq!(reads("{{ row.question }} {{ row['tag'] }}"), some(&["question", "tag"]));
    assert_eq!(reads("{{ row.a.b[0] }}"), some(&["a"]));
    assert_eq!(reads("{{ row.text[:20] }}"), some(&["text"]));
    assert_eq!(reads("no variables"), some(&[]));
}

#[test]
fn a_bare_row_reads_everything() {
    for text in [
        "{{ row|tojson }}",
        "{{ row[model ~ '_x'] }}",
        "{% set r = row %}{{ r.a }}",
        "{% with r = row %}{{ r.a }}{% endwith %}",
        "{% for k in row %}{{ k }}{% endfor %}",
        "{% macro m(x) %}{{ x.a }}{% endmacro %}{{ m(row) }}",
        "{{ row.items() }}",
        "{% set row = row %}{{ row.a }}",
    ] {
        assert_eq!(reads(text), Attrs::All, "{text}");
    }
}

#[test]
fn includes_imports_and_parents_belong_to_the_closure() {
    let (_directory, library) = library(&[
        ("a.j2", "{% include 'b.j2' %}{% import 'm.j2' as m %}{{ m.x() }}{% include 'gone.j2' ignore missing %}"),
        ("b.j2", "{% extends 'p.j2' %}{% block x %}{{ row.b }}{% endblock %}"),
        ("p.j2", "P{{ row.p }}{% block x %}{% endblock %}"),
        ("m.j2", "{% macro x() %}M{% endmacro %}"),
    ]);
    let template = Template::load(&library, "a.j2", &place("a.j2"), VARIABLES).map_err(|p| format!("{p:?}")).unwrap();
    let closure = template.closure();
    assert_eq!(closure.keys().collect::<Vec<_>>(), ["a.j2", "b.j2", "gone.j2", "m.j2", "p.j2"]);
    assert!(closure["gone.j2"].is_none());
    assert_eq!(template.reads.of("row"), some(&["b", "p"]));
    let text = template.render(&context! { row => context! { b => 1, p => 2 } }).unwrap();
    assert_eq!(text, "P21M");
}

fn problem(text: &str) -> String {
    let (_directory, library) = library(&[("loop.j2", "x")]);
    let problems = Template::load(&library, text, &place(text), VARIABLES).err().expect("a problem");
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn wrong_names_are_found_also_in_branches_never_taken() {
    assert!(problem("{% if false %}{{ row.a|uper }}{% endif %}").contains("did you mean `upper`?"));
    assert!(problem("{% if row.a is defind %}{% endif %}").contains("did you mean `defined`?"));
    assert!(problem("{{ rwo.a }}").contains("did you mean `row`?"));
    assert!(problem("{{ debug() }}").contains("there is no variable or function `debug`"));
    assert!(problem("{% include model %}").contains("computed"));
    assert!(problem("{% include 'loops.j2' %}").contains("did you mean `loop.j2`?"));
    assert!(problem("../x.j2").contains("leaves the template directory"));
    assert!(problem(&"x".repeat(MAX_TEMPLATE + 1)).contains("65537 bytes"));
}

#[test]
fn an_error_points_at_its_line() {
    let yaml = "prompt: |\n  Hello\n  {{ row.a }\n  bye\n";
    let source = Arc::new(Source { path: "pipelines/a.yaml".into(), text: yaml.into() });
    let place = Place { source, range: 8..yaml.len() };
    let (_directory, library) = library(&[]);
    let problems = Template::load(&library, "Hello\n{{ row.a }\nbye\n", &place, VARIABLES).err().unwrap();
    assert_eq!(problems[0].place.as_ref().unwrap().line_column().0, 3, "{problems:?}");
    let template = Template::load(&library, "Hello {{ row.missing }}", &place, VARIABLES).ok().unwrap();
    let error = template.render(&context! { row => context! {} }).unwrap_err();
    assert!(error.message.contains("undefined"), "{error}");
}

#[test]
fn a_single_expression_keeps_its_type() {
    let (_directory, library) = library(&[]);
    let evaluate = |text: &str| {
        let row: Value = from_json(&serde_json::json!({"n": 3, "text": "{\"a\": [1, 2]}", "none": null}));
        let template =
            Template::load_value(&library, text, &place(text), VARIABLES).map_err(|p| format!("{p:?}")).unwrap();
        to_json(&template.evaluate(&context! { row }).unwrap())
    };
    assert_eq!(evaluate("{{ row.n }}"), serde_json::json!(3));
    assert_eq!(evaluate("{{ row.n }}!"), serde_json::json!("3!"));
    assert_eq!(evaluate("{{ row.n }}{{ row.n }}"), serde_json::json!("33"));
    assert_eq!(evaluate("{{ row.text | json('a.1') }}"), serde_json::json!(2));
    assert_eq!(evaluate("{{ row.text | json('b') }}"), serde_json::json!(null));
    assert_eq!(evaluate("{{ 'nope' | json }}"), serde_json::json!(null));
    assert_eq!(evaluate("{{ row.none }}"), serde_json::json!(null));
}

#[test]
fn nothing_is_escaped_and_big_numbers_stay() {
    let template = load("{{ row.a }} {{ row|tojson }}");
    let row = from_json(&serde_json::from_str(r#"{"a": 9007199254740993, "b": "<é&'>"}"#).unwrap());
    let text = template.render(&context! { row }).unwrap();
    assert_eq!(text, r#"9007199254740993 {"a":9007199254740993,"b":"<é&'>"}"#);
}

#[test]
fn endless_templates_end() {
    let template = load("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}");
    assert!(template.render(&context! {}).unwrap_err().message.contains("fuel"));
    for bomb in ["{{ ['a'*100000]*100000 }}", "x {{ ['a'*100000]*100000 }}", "x {{ [[[[1]*1000]*1000]*1000]*1000 }}"] {
        assert!(load(bomb).render(&context! {}).unwrap_err().message.contains("longer than 64 MB"), "{bomb}");
    }
}
