//! `json_fields`: structured extraction, field by field.
//!
//! Prediction and reference are JSON objects, or texts that hold one. Each field is compared at its path. A field that is
//! absent or null has no value; "no value" is the negative class, so that a value where none belongs costs precision, and
//! none where one belongs costs recall. An answer without readable JSON is wrong in every field, and never missing.
//!
//! | | the answer has the value | another value | no value | unreadable |
//! |---|---|---|---|---|
//! | the reference has a value | right | wrong | missing | missing |
//! | the reference has none | – | extra | right | wrong, but for precision and recall |

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::value::{Empty, Equality, Lists, Mode, RULE};
use super::{
    Entry, Made, Make, MeanTally, Metric, RowScores, Score, Scored, SumsTally, Tally, TallySummary, Written, share,
};
use crate::score::Estimate;
use crate::spec::{Amount, ShortOr};
use crate::text::{at_path, find_json};

pub(super) const ENTRY: Entry = Entry {
    name: "json_fields",
    about: "Structured extraction: the share of answers whose fields are all right, and accuracy, precision, recall and F1 field by field.",
    source: "slot precision, recall and F1 as in MUC-5 (Chinchor and Sundheim 1993), with absent and null as no value",
    score: "`{ all, unreadable, fields }`: 0 or 1, 0 or 1, and for each field right, none, wrong, missing, extra or unreadable",
    parts: &[
        ("accuracy", "share of fields that are right, those without a value among them"),
        ("precision", "of the values in answers, the share that is right"),
        ("recall", "of the values in references, the share that answers have right"),
        ("f1", "harmonic mean of precision and recall over all fields together"),
        ("f1_macro", "mean of the fields' F1"),
        ("wrong", "of the values in references, the share for which answers have another value"),
        ("missing", "of the values in references, the share for which answers have none"),
        ("extra", "of the fields without a value in references, the share for which answers have one"),
        ("unreadable", "share of answers without readable JSON"),
        ("f1.<field>", "of one field; also `accuracy.<field>`, `precision.<field>`, `recall.<field>`"),
    ],
    more_parts: |part| ["accuracy.", "precision.", "recall.", "f1."].iter().any(|head| part.starts_with(head)),
    equality: RULE,
    ..share::<Settings>()
};

/// How one field is compared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields, default)]
struct Field {
    /// The column of the row that holds its reference, where that is not a field of the reference.
    column: Option<String>,
    /// How texts are compared.
    mode: Option<Mode>,
    /// How lists are compared: item by item, or as sets.
    lists: Option<Lists>,
    /// Largest difference of numbers that counts as equal.
    tolerance: Option<Amount>,
}

/// By path: the column with its reference, or how it is compared.
type ByPath = IndexMap<String, Option<ShortOr<String, Field>>>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The fields, as paths (`intent`, `order.id`, `items.0.sku`): a list of them, or a map of each to the column with
    /// its reference, or to how it is compared.
    #[schemars(example = ["intent", "order.id"], extend("minItems" = 1, "minProperties" = 1))]
    fields: ShortOr<Vec<String>, ByPath>,
    /// How texts are compared, as in exact_match.
    #[serde(default)]
    #[schemars(example = Mode::Casefold)]
    mode: Mode,
    /// How lists are compared: item by item, or as sets.
    #[serde(default)]
    #[schemars(example = Lists::Set)]
    lists: Lists,
    /// Largest difference of numbers that counts as equal; 0 unless said.
    #[serde(default = "exact")]
    #[schemars(example = 0.01)]
    tolerance: Amount,
    /// What an empty reference stands for: `null` where a CSV file cannot say null otherwise.
    #[serde(default)]
    #[schemars(example = Empty::Null)]
    empty: Empty,
}

fn exact() -> Amount {
    Amount(0.0)
}

struct JsonFields {
    /// By path.
    fields: IndexMap<String, Of>,
    empty: Empty,
    reference: Option<String>,
}

/// Where the reference of a field stands, and how the field is compared.
struct Of {
    column: Option<String>,
    equality: Equality,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let plain = Equality { mode: self.mode, lists: self.lists, tolerance: self.tolerance.0 };
        let of = |field: Field| Of {
            column: field.column,
            equality: Equality {
                mode: field.mode.unwrap_or(plain.mode),
                lists: field.lists.unwrap_or(plain.lists),
                tolerance: field.tolerance.map_or(plain.tolerance, |amount| amount.0),
            },
        };
        let mut fields = IndexMap::new();
        match self.fields {
            ShortOr::Short(names) => {
                for name in names {
                    if fields.insert(name.clone(), of(Field::default())).is_some() {
                        return Err(written.wrong("fields", format!("the field `{name}` stands twice")));
                    }
                }
            }
            ShortOr::Full(named) => {
                for (name, field) in named {
                    let field = match field {
                        None => Field::default(),
                        Some(ShortOr::Short(column)) => Field { column: Some(column), ..Field::default() },
                        Some(ShortOr::Full(field)) => field,
                    };
                    fields.insert(name, of(field));
                }
            }
        }
        if fields.is_empty() {
            return Err(written.wrong("fields", "`fields` names the fields that are compared"));
        }
        let columns: Vec<&String> = fields.values().filter_map(|of| of.column.as_ref()).collect();
        if !columns.is_empty() && columns.len() < fields.len() {
            let bare = fields.iter().find(|(_, of)| of.column.is_none()).map_or("", |(name, _)| name);
            return Err(written.wrong("fields", format!("`{bare}` has no column, and other fields have one")));
        }
        let reference = (!columns.is_empty()).then(|| {
            let entries = columns.iter().map(|column| {
                let name = Value::from(column.as_str());
                format!("{name}: row[{name}]")
            });
            format!("{{{{ {{{}}} }}}}", entries.collect::<Vec<_>>().join(", "))
        });
        Ok(Box::new(JsonFields { fields, empty: self.empty, reference }))
    }
}

/// What became of one field.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Found {
    Right,
    /// Neither has a value.
    None,
    Wrong,
    Missing,
    Extra,
    /// The answer cannot be read, and the reference has no value.
    Unreadable,
}

/// Returns the object that a value is or holds.
fn object(value: &Value, has: &dyn Fn(&Value) -> bool) -> Option<Value> {
    match value {
        Value::String(text) => find_json(text, has).ok(),
        other => Some(other.clone()),
    }
    .filter(Value::is_object)
}

impl JsonFields {
    fn found(&self, answer: Option<&Value>, name: &str, gold: &Value) -> Found {
        let has_gold = !gold.is_null();
        let Some(answer) = answer else {
            return if has_gold { Found::Missing } else { Found::Unreadable };
        };
        let said = at_path(answer, name).filter(|value| !value.is_null());
        match said {
            None if has_gold => Found::Missing,
            None => Found::None,
            Some(_) if !has_gold => Found::Extra,
            Some(said) if self.fields[name].equality.holds(said, gold) => Found::Right,
            Some(_) => Found::Wrong,
        }
    }
}

impl Metric for JsonFields {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some(reference) = scored.reference.filter(|reference| !reference.is_null()) else {
            return Ok(None);
        };
        let Some(reference) = object(reference, &|_| true) else {
            return Err("the reference is no JSON object".to_owned());
        };
        let has_fields = |value: &Value| self.fields.keys().any(|name| at_path(value, name).is_some());
        let answer = scored.prediction.and_then(|prediction| object(prediction, &has_fields));
        let mut fields = Map::new();
        let mut is_all_right = answer.is_some();
        for (name, of) in &self.fields {
            let gold = match &of.column {
                Some(column) => reference.get(column),
                None => at_path(&reference, name),
            };
            let found = self.found(answer.as_ref(), name, self.empty.of(gold.unwrap_or(&Value::Null)));
            is_all_right &= matches!(found, Found::Right | Found::None);
            fields.insert(name.clone(), serde_json::to_value(found).unwrap_or_default());
        }
        Ok(Some(json!({
            "all": u8::from(is_all_right),
            "unreadable": u8::from(answer.is_none()),
            "fields": fields,
        })))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let names: Vec<String> = self.fields.keys().cloned().collect();
        let statistics = statistics(&names);
        Box::new(FieldsTally {
            all: MeanTally::share(),
            unreadable: MeanTally::share(),
            sums: SumsTally::named(seed, names.len() * WIDTH, statistics),
            names,
        })
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn own_reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

/// The numbers that are summed up for each field: how often each `Found` came, and `Missing` of unreadable answers
/// among the missing ones.
const WIDTH: usize = 6;

/// Counts over a set of fields.
#[derive(Clone, Copy, Default)]
struct Counts {
    right: f64,
    none: f64,
    wrong: f64,
    missing: f64,
    extra: f64,
    unreadable: f64,
}

impl Counts {
    fn of(sums: &[f64]) -> Counts {
        sums.chunks_exact(WIDTH).fold(Counts::default(), |all, one| Counts {
            right: all.right + one[0],
            none: all.none + one[1],
            wrong: all.wrong + one[2],
            missing: all.missing + one[3],
            extra: all.extra + one[4],
            unreadable: all.unreadable + one[5],
        })
    }

    fn gold(&self) -> f64 {
        self.right + self.wrong + self.missing
    }

    fn accuracy(&self) -> Option<f64> {
        ratio(self.right + self.none, self.gold() + self.none + self.extra + self.unreadable)
    }

    fn precision(&self) -> Option<f64> {
        ratio(self.right, self.right + self.wrong + self.extra)
    }

    fn recall(&self) -> Option<f64> {
        ratio(self.right, self.gold())
    }

    fn f1(&self) -> Option<f64> {
        ratio(2.0 * self.right, 2.0 * self.right + 2.0 * self.wrong + self.missing + self.extra)
    }
}

fn ratio(part: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| part / all)
}

type Named = (String, Box<dyn Fn(&[f64]) -> Option<f64> + Send + Sync>);

/// Returns the values that are computed from the sums over all rows.
fn statistics(names: &[String]) -> Vec<Named> {
    fn over_all(part: &str, of: fn(&Counts) -> Option<f64>) -> Named {
        (part.to_owned(), Box::new(move |sums| of(&Counts::of(sums))))
    }
    let mut statistics = vec![
        over_all("accuracy", Counts::accuracy),
        over_all("precision", Counts::precision),
        over_all("recall", Counts::recall),
        over_all("f1", Counts::f1),
        over_all("wrong", |counts| ratio(counts.wrong, counts.gold())),
        over_all("missing", |counts| ratio(counts.missing, counts.gold())),
        over_all("extra", |counts| ratio(counts.extra, counts.extra + counts.none)),
    ];
    let macro_f1 = |sums: &[f64]| {
        let of_fields: Vec<f64> = sums.chunks_exact(WIDTH).filter_map(|field| Counts::of(field).f1()).collect();
        ratio(of_fields.iter().sum(), of_fields.len() as f64)
    };
    statistics.push(("f1_macro".to_owned(), Box::new(macro_f1)));
    for (index, name) in names.iter().enumerate() {
        let mut add = |part: &str, of: fn(&Counts) -> Option<f64>| {
            let of_field = move |sums: &[f64]| of(&Counts::of(&sums[index * WIDTH..(index + 1) * WIDTH]));
            statistics.push((format!("{part}.{name}"), Box::new(of_field)));
        };
        add("accuracy", Counts::accuracy);
        add("precision", Counts::precision);
        add("recall", Counts::recall);
        add("f1", Counts::f1);
    }
    statistics
}

struct FieldsTally {
    names: Vec<String>,
    all: MeanTally,
    unreadable: MeanTally,
    sums: SumsTally,
}

impl FieldsTally {
    fn sums_of(&self, score: &Value) -> Value {
        let mut sums = vec![0; self.names.len() * WIDTH];
        for (index, name) in self.names.iter().enumerate() {
            if let Ok(found) = serde_json::from_value::<Found>(score["fields"][name].clone()) {
                sums[index * WIDTH + found as usize] = 1;
            }
        }
        sums.into()
    }
}

impl Tally for FieldsTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.all.add(&RowScores { scores: &row.field("all"), ..*row });
        self.unreadable.add(&RowScores { scores: &row.field("unreadable"), ..*row });
        let sums: Vec<Option<Value>> = row.scores.iter().map(|score| score.map(|score| self.sums_of(score))).collect();
        let sums: Vec<Option<&Value>> = sums.iter().map(Option::as_ref).collect();
        self.sums.add(&RowScores { scores: &sums, ..*row });
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        summary.parts.push((String::new(), self.all.estimate()));
        self.sums.finish(summary);
        summary.parts.push(("unreadable".to_owned(), self.unreadable.estimate()));
        let of_field: BTreeMap<&str, &Estimate> =
            summary.parts.iter().map(|(part, estimate)| (part.as_str(), estimate)).collect();
        let value = |part: &str, name: &str| of_field.get(format!("{part}.{name}").as_str()).and_then(|it| it.value);
        let lines = self.names.iter().map(|name| {
            json!({
                "field": name,
                "accuracy": value("accuracy", name),
                "precision": value("precision", name),
                "recall": value("recall", name),
                "f1": value("f1", name),
            })
        });
        let table = lines.collect();
        summary.tables.push(("fields".to_owned(), table));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn metric(settings: &Value) -> Box<dyn Metric> {
        ENTRY.make(settings.as_object().unwrap(), Path::new(".")).map_err(|found| format!("{found:?}")).unwrap()
    }

    fn found(settings: &Value, prediction: &Value, reference: &Value) -> Value {
        let scored = Scored { prediction: Some(prediction), reference: Some(reference), ..Scored::default() };
        metric(settings).score(&scored).unwrap().unwrap()
    }

    #[test]
    fn each_field_is_right_or_says_what_is_wrong() {
        let settings = json!({ "fields": ["a", "b.c", "d"] });
        let gold = json!({ "a": 3.0, "b": { "c": null }, "d": "x" });
        for (said, a, c, d) in [
            (json!("```json\n{\"a\": 3, \"d\": \" x\"}\n```"), "right", "none", "right"),
            (json!("Sure: {\"a\": \"3\", \"b\": {\"c\": 1}, \"d\": null}"), "right", "extra", "missing"),
            (json!({ "a": 4, "b": 1, "d": "y" }), "wrong", "none", "wrong"),
            (json!("no json"), "missing", "unreadable", "missing"),
            (json!([1]), "missing", "unreadable", "missing"),
        ] {
            let score = found(&settings, &said, &gold);
            assert_eq!(score["fields"], json!({ "a": a, "b.c": c, "d": d }), "{said}");
            assert_eq!(score["all"], u8::from(a == "right" && c == "none" && d == "right"));
        }
    }

    #[test]
    fn fields_may_be_compared_in_their_own_ways_and_stand_in_columns() {
        let settings = json!({ "fields": {
            "total": { "column": "gold_total", "tolerance": 0.01 },
            "tags": { "column": "gold tags", "lists": "set" },
            "name": { "column": "gold_name", "mode": "casefold" },
        }, "empty": null });
        let made = metric(&settings);
        assert_eq!(
            made.own_reference(),
            Some(
                r#"{{ {"gold_total": row["gold_total"], "gold tags": row["gold tags"], "gold_name": row["gold_name"]} }}"#
            )
        );
        let gold = json!({ "gold_total": "12.50", "gold tags": "[\"a\", \"b\"]", "gold_name": "" });
        let said = json!({ "total": 12.505, "tags": ["b", "a"], "name": null });
        assert_eq!(
            found(&settings, &said, &gold)["fields"],
            json!({ "total": "right", "tags": "right", "name": "none" })
        );
        assert_eq!(found(&json!({ "fields": { "name": "gold_name" } }), &said, &gold)["fields"]["name"], "missing");
        for wrong in [
            json!({ "fields": [] }),
            json!({ "fields": ["a", "a"] }),
            json!({ "fields": { "a": "x", "b": {} } }),
            json!({}),
        ] {
            assert!(ENTRY.make(wrong.as_object().unwrap(), Path::new(".")).is_err(), "{wrong}");
        }
    }
}
