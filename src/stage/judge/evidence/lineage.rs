//! Lineage: whether a judge is kin of the models that it judges.
//!
//! | code | the judge |
//! |---|---|
//! | `J-SELF` | is the model that it judges (an error, unless `allow_self: true`) |
//! | `J-LINEAGE` | was tuned from the same model as what it judges |
//! | `J-FAMILY` | comes from the same vendor |
//! | `J-LEAK` | is, or is of the family of, a model whose outputs the judged model was trained on |
//! | `J-REF` | is of the family of the ceiling |
//!
//! Models prefer their own words (Panickssery et al. 2024, arXiv 2404.13076; Wataoka et al. 2024, arXiv
//! 2410.21819), and those of models trained on them (Li et al. 2025, arXiv 2502.01534).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;

use crate::spec::{ModelSpec, Role};

/// Vendors, each with the pattern that its model ids match.
static FAMILIES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"(^|[^a-z])(gpt|chatgpt|o\d|text-davinci)", "openai"),
        (r"claude", "anthropic"),
        (r"gemini|gemma", "google"),
        (r"llama", "meta"),
        (r"qwen|qwq", "alibaba"),
        (r"mistral|mixtral|ministral|codestral|magistral|devstral", "mistral"),
        (r"deepseek", "deepseek"),
        (r"command|(^|[^a-z])aya", "cohere"),
        (r"(^|[^a-z])phi", "microsoft"),
        (r"grok", "xai"),
        (r"(^|[^a-z])glm", "zhipu"),
    ]
    .into_iter()
    .map(|(pattern, family)| (Regex::new(pattern).expect("the pattern is constant"), family))
    .collect()
});

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq)]
struct Origin {
    id: String,
    address: Option<String>,
    family: Option<String>,
    /// The id of the model from which it was tuned, or its own id.
    base: String,
    /// Ids and families of the models whose outputs it was trained on.
    trained_on: Vec<String>,
    is_ceiling: bool,
}

/// Where every model of a pipeline comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage {
    by: BTreeMap<String, Origin>,
}

/// Which of two models a judge could favour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// It is of the judged model's family, and not of the other's.
    Own,
    /// It is of the family of the model with which that one is compared, only.
    Other,
    None,
}

impl Kin {
    /// Returns its word in keys.
    pub fn word(self) -> &'static str {
        match self {
            Kin::Own => "own",
            Kin::Other => "other",
            Kin::None => "none",
        }
    }
}

/// How a judge is related to a model that it judges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relation {
    pub code: &'static str,
    pub message: String,
    pub help: &'static str,
}

/// Returns an id in lower case without its publisher: `Qwen/Qwen2.5-7B` becomes `qwen2.5-7b`.
fn name_of(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_lowercase()
}

/// Returns the vendor that an id tells.
fn family_of(id: &str) -> Option<&'static str> {
    let name = name_of(id);
    FAMILIES.iter().find(|(pattern, _)| pattern.is_match(&name)).map(|(_, family)| *family)
}

impl Lineage {
    /// Collects where the models of a pipeline come from.
    pub fn new(models: &IndexMap<String, ModelSpec>) -> Lineage {
        // A model name of the spec stands for the id that it calls.
        let id_of =
            |name: &str| models.get(name).and_then(|model| model.model.clone()).unwrap_or_else(|| name.to_owned());
        let family = |name: &str| -> Option<String> {
            let named = models.get(name).and_then(|model| model.family.clone());
            named.or_else(|| family_of(&id_of(name)).map(str::to_owned)).map(|family| family.to_lowercase())
        };
        let origin = |(name, model): (&String, &ModelSpec)| {
            let base = model.base_model.as_deref();
            let own = family(name).or_else(|| base.and_then(family));
            let trained_on = model.trained_on_outputs_of.iter();
            let origin = Origin {
                id: model.model.clone().unwrap_or_default().to_lowercase(),
                address: model.settings.text("base_url").map(str::to_owned),
                family: own,
                base: name_of(&base.map_or_else(|| id_of(name), id_of)),
                trained_on: trained_on
                    .flat_map(|taught| [Some(id_of(taught).to_lowercase()), family(taught)])
                    .flatten()
                    .collect(),
                is_ceiling: model.role == Some(Role::Ceiling),
            };
            (name.clone(), origin)
        };
        Lineage { by: models.iter().map(origin).collect() }
    }

    /// Returns true if some model is the ceiling.
    pub fn has_ceiling(&self) -> bool {
        self.by.values().any(|origin| origin.is_ceiling)
    }

    /// Returns true if two models are known to come from the same vendor.
    pub fn is_kin(&self, a: &str, b: &str) -> bool {
        let family = |name: &str| self.by.get(name)?.family.as_ref();
        family(a).is_some() && family(a) == family(b)
    }

    /// Returns how a judge is related to a model, the worst relation first.
    pub fn relation(&self, judge: &str, model: &str) -> Vec<Relation> {
        let (Some(mine), Some(theirs)) = (self.by.get(judge), self.by.get(model)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut add = |code, message: String, help| found.push(Relation { code, message, help });
        let is_same = !mine.id.is_empty() && mine.id == theirs.id && mine.address == theirs.address;
        if judge == model || is_same {
            let message = if judge == model {
                format!("`{judge}` judges its own completions")
            } else {
                format!("`{judge}` and `{model}` are one model: it judges its own completions")
            };
            add(
                "J-SELF",
                message,
                "take another judge, or say `allow_self: true` and mind that models prefer their own answers",
            );
            return found;
        }
        let family = mine.family.as_deref().unwrap_or_default();
        let is_taught = theirs
            .trained_on
            .iter()
            .any(|taught| *taught == mine.id && !taught.is_empty() || *taught == family && !family.is_empty());
        if is_taught {
            add(
                "J-LEAK",
                format!(
                    "`{model}` was trained on outputs of `{judge}` or its family: the judge meets its own words in it"
                ),
                "take a judge of another family, or a `panel` with one, and hold it against people's labels (`human:`)",
            );
        }
        if !mine.base.is_empty() && mine.base == theirs.base {
            add(
                "J-LINEAGE",
                format!(
                    "`{judge}` and `{model}` come from the same base model: the judge prefers what sounds like itself"
                ),
                "take a judge of another family, or a `panel` with one, and hold it against people's labels (`human:`)",
            );
        } else if self.is_kin(judge, model) && theirs.is_ceiling {
            add(
                "J-REF",
                format!(
                    "the judge `{judge}` and the ceiling `{model}` are both of {family}: the ceiling is inflated, and what percentage of it others reach is a lower bound"
                ),
                "take a judge of another family, or read the percentage of the ceiling as \"at least\"",
            );
        } else if self.is_kin(judge, model) {
            add(
                "J-FAMILY",
                format!("`{judge}` and `{model}` are both of {family}: models prefer answers of their own family"),
                "take a judge of another family, or a `panel` with one: `self_preference` then says how much",
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_the_vendor() {
        for (id, family) in [
            ("gpt-4.1-2025-04-14", Some("openai")),
            ("o3-mini", Some("openai")),
            ("openai/gpt-oss-20b", Some("openai")),
            ("claude-sonnet-4-5-20250929", Some("anthropic")),
            ("google/gemma-3-27b-it", Some("google")),
            ("meta-llama/Llama-3.3-70B-Instruct", Some("meta")),
            ("Qwen/Qwen2.5-3B-Instruct", Some("alibaba")),
            ("mistral-small-2506", Some("mistral")),
            ("command-a-03-2025", Some("cohere")),
            ("microsoft/phi-4", Some("microsoft")),
            ("glm-4.6", Some("zhipu")),
            ("support-iter-3", None),
            ("dolphin", None),
        ] {
            assert_eq!(family_of(id), family, "{id}");
        }
    }

    #[test]
    fn relations_are_told_by_the_nearest_of_them() {
        let spec = |model: &str| ModelSpec { model: Some(model.to_owned()), ..ModelSpec::default() };
        let mut models = IndexMap::new();
        models.insert("judge".to_owned(), spec("gpt-4.1-2025-04-14"));
        models.insert("twin".to_owned(), spec("gpt-4.1-2025-04-14"));
        models.insert("ceiling".to_owned(), ModelSpec { role: Some(Role::Ceiling), ..spec("gpt-5-2025-08-07") });
        models.insert("mini".to_owned(), spec("o3-mini"));
        models.insert(
            "taught".to_owned(),
            ModelSpec { trained_on_outputs_of: vec!["ceiling".to_owned()], ..spec("support-1") },
        );
        models.insert("small".to_owned(), spec("qwen2.5-3b"));
        models.insert("tuned".to_owned(), ModelSpec { base_model: Some("small".to_owned()), ..spec("support-2") });
        let lineage = Lineage::new(&models);
        let codes = |judge: &str, model: &str| -> Vec<&str> {
            lineage.relation(judge, model).into_iter().map(|relation| relation.code).collect()
        };
        assert_eq!(codes("judge", "judge"), ["J-SELF"]);
        assert_eq!(codes("judge", "twin"), ["J-SELF"]);
        assert_eq!(codes("judge", "ceiling"), ["J-REF"]);
        assert_eq!(codes("judge", "mini"), ["J-FAMILY"]);
        assert_eq!(codes("judge", "taught"), ["J-LEAK"]);
        assert_eq!(codes("small", "tuned"), ["J-LINEAGE"]);
        assert_eq!(codes("judge", "tuned"), [""; 0]);
    }
}
