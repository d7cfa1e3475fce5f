//! Datasets of the Hugging Face hub: from its cache on this machine, or else downloaded.
//!
//! A revision is pinned to a commit at first use (`etalon.lock`), so that runs can be reproduced. The files of a commit
//! never change, so once they are on this machine no server is asked again. Files that the Python libraries have
//! downloaded are used where they lie; etalon's own downloads go into its own cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::format_of;
use crate::encoder::hub_cache;
use crate::files::{self, Draft};
use crate::net::{Connection, client, is_loopback};

/// A dataset of the hub.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "hf")]
pub struct HubDataset {
    /// Owner and name: `openai/gsm8k`.
    pub repo: String,
    /// train, validation, test, or whatever the dataset calls its parts.
    pub split: Option<String>,
    /// Configuration (subset) of the dataset.
    pub config: Option<String>,
    /// Branch, tag or commit; main unless said. It is pinned to a commit in etalon.lock.
    pub revision: Option<String>,
    /// File or glob within the repository, where names do not tell the split.
    pub file: Option<String>,
}

impl From<String> for HubDataset {
    fn from(name: String) -> HubDataset {
        HubDataset::named(&name)
    }
}

/// The usual splits, each with other names for it.
const SPLITS: &[(&str, &[&str])] = &[
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The file that keeps the hub's list of what a repository holds at a commit.
const LISTING: &str = ".etalon-listing.json";
/// A hub that sends nothing for so long counts as gone.
const SILENCE: Duration = Duration::from_secs(30);

/// How many attempts a request gets.
const ATTEMPTS: u32 = 3;

/// Where the hub and its caches are.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The cache of the Python libraries.
    shared: PathBuf,
    /// The cache of etalon's own downloads.
    own: PathBuf,
    endpoint: String,
    is_offline: bool,
}

impl Hub {
    /// Reads the environment variables of the Python libraries: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
    /// `HF_HUB_OFFLINE`. `own` is the directory for downloads.
    pub fn from_environment(own: PathBuf, is_offline: bool) -> Hub {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let is_told =
            variable("HF_HUB_OFFLINE").is_some_and(|flag| ["1", "true", "yes", "on"].contains(&&*flag.to_lowercase()));
        Hub {
            shared: hub_cache(),
            own,
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            is_offline: is_offline || is_told,
        }
    }

    fn folders(&self, dataset: &HubDataset, commit: &str) -> [PathBuf; 2] {
        let name = format!("datasets--{}", dataset.repo.replace('/', "--"));
        [self.own.join(&name).join(commit), self.shared.join(&name).join("snapshots").join(commit)]
    }

    /// Returns the commit that the shared cache has for a revision.
    fn cached_commit(&self, dataset: &HubDataset) -> Option<String> {
        let name = format!("datasets--{}", dataset.repo.replace('/', "--"));
        let text = std::fs::read_to_string(self.shared.join(name).join("refs").join(dataset.revision())).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Returns the files of a dataset at a commit; none unless all of them are on this machine.
    pub fn files(&self, dataset: &HubDataset, commit: &str) -> Option<Vec<PathBuf>> {
        let folders = self.folders(dataset, commit);
        // If the hub has said what the repository holds, that list decides: the files downloaded so far may be a part.
        if let Some(names) = self.listing(dataset, commit) {
            let chosen = dataset.choose(&names).ok()?;
            return chosen
                .iter()
                .map(|name| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()))
                .collect();
        }
        let mut names = Vec::new();
        list(&folders[1], &folders[1], &mut names);
        let chosen = dataset.choose(&names).ok()?;
        is_whole(&chosen).then(|| chosen.iter().map(|name| folders[1].join(name)).collect())
    }

    /// Makes sure that a dataset is on this machine; returns the commit to which it is pinned. `pin` is the commit in
    /// etalon.lock, if there is one.
    ///
    /// # Errors
    ///
    /// The dataset is not there and cannot be fetched; the text says why.
    pub async fn fetch(&self, dataset: &HubDataset, pin: Option<&str>) -> Result<String, String> {
        let known = pin.map(str::to_owned).or_else(|| dataset.commit()).or_else(|| self.cached_commit(dataset));
        if let Some(commit) = known.as_ref().filter(|commit| self.files(dataset, commit).is_some()) {
            return Ok(commit.clone());
        }
        if self.is_offline {
            return Err(format!("{} is not in the hub's cache, and this is offline", dataset.repo));
        }
        let listed = known.as_ref().and_then(|commit| Some((commit.clone(), self.listing(dataset, commit)?)));
        let (commit, names) = match listed {
            Some(listed) => listed,
            None => self.ask(dataset, &known.unwrap_or_else(|| dataset.revision().to_owned())).await?,
        };
        let [folder, _] = self.folders(dataset, &commit);
        for name in dataset.choose(&names)? {
            // File names come from the hub; none may lead out of the folder.
            if Path::new(&name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
                return Err(format!("{} has a file with the name {name}", dataset.repo));
            }
            let path = folder.join(&name);
            if !path.is_file() {
                self.download(&format!("{}/datasets/{}/resolve/{commit}/{name}", self.endpoint, dataset.repo), &path)
                    .await?;
            }
        }
        Ok(commit)
    }

    /// Asks the hub what a repository holds at a revision, and keeps the answer. Returns the commit and the file names.
    async fn ask(&self, dataset: &HubDataset, revision: &str) -> Result<(String, Vec<String>), String> {
        let url = format!("{}/api/datasets/{}/revision/{revision}", self.endpoint, dataset.repo);
        let text = String::from_utf8_lossy(&self.get(&url).await?).into_owned();
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{url} answered no JSON: {error}"))?;
        let commit = answer["sha"].as_str().filter(|commit| is_commit(commit));
        let commit = commit.ok_or_else(|| format!("{url} names no commit"))?.to_owned();
        let siblings = answer["siblings"].as_array().into_iter().flatten();
        let names: Vec<String> = siblings.filter_map(|file| file["rfilename"].as_str().map(str::to_owned)).collect();
        let [folder, _] = self.folders(dataset, &commit);
        let failed = |error: std::io::Error| format!("failed to write below {}: {error}", folder.display());
        let listing = serde_json::to_vec(&names).expect("names are JSON");
        files::write(&folder.join(LISTING), &listing).map_err(failed)?;
        Ok((commit, names))
    }

    /// Returns what a repository holds at a commit, if the hub has said it before.
    fn listing(&self, dataset: &HubDataset, commit: &str) -> Option<Vec<String>> {
        serde_json::from_slice(&std::fs::read(self.folders(dataset, commit)[0].join(LISTING)).ok()?).ok()
    }

    async fn send(&self, url: &str) -> Result<reqwest::Response, String> {
        let parsed = reqwest::Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
        let connection = Connection {
            timeout: Duration::from_secs(10),
            is_loopback: is_loopback(parsed.host_str().unwrap_or_default()),
            is_tls: parsed.scheme() == "https",
            follows: true,
        };
        let client = client(connection).map_err(|error| format!("failed to set up HTTP: {error}"))?;
        let mut problem = String::new();
        for attempt in 0..ATTEMPTS {
            tokio::time::sleep(Duration::from_millis(500 * u64::from(attempt))).await;
            let mut request = client.get(parsed.clone());
            // The token is not sent along when the hub redirects to another host.
            if let Ok(token) = std::env::var("HF_TOKEN") {
                request = request.bearer_auth(token.trim());
            }
            let answer = tokio::time::timeout(SILENCE, request.send()).await;
            let Ok(answer) = answer else {
                problem = format!("{url} did not answer within {} s", SILENCE.as_secs());
                continue;
            };
            match answer {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    problem = format!("{url} answered {}", response.status());
                    match response.status().as_u16() {
                        401 | 403 | 404 => {
                            problem.push_str("; a private or gated dataset needs HF_TOKEN: export HF_TOKEN=…");
                            break;
                        }
                        429 | 500..=599 => {}
                        _ => break,
                    }
                }
                Err(error) => problem = format!("{url} cannot be reached: {}", cause(&error)),
            }
        }
        Err(problem)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let response = self.send(url).await?;
        let body = tokio::time::timeout(SILENCE, response.bytes()).await;
        let body = body.map_err(|_| format!("{url} broke off: silent for {} s", SILENCE.as_secs()))?;
        body.map(|bytes| bytes.to_vec()).map_err(|error| format!("{url} broke off: {}", cause(&error)))
    }

    /// Downloads a file, whole or not at all.
    async fn download(&self, url: &str, path: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("failed to write {}: {error}", path.display());
        let mut response = self.send(url).await?;
        let draft = Draft::beside(path).map_err(failed)?;
        let mut file = tokio::fs::File::from_std(draft.file().try_clone().map_err(failed)?);
        loop {
            let chunk = tokio::time::timeout(SILENCE, response.chunk()).await;
            let chunk = chunk.map_err(|_| format!("{url} broke off: silent for {} s", SILENCE.as_secs()))?;
            let Some(chunk) = chunk.map_err(|error| format!("{url} broke off: {}", cause(&error)))? else { break };
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        let target = path.to_owned();
        let published = tokio::task::spawn_blocking(move || draft.publish(&target)).await;
        published.unwrap_or_else(|error| Err(error.into())).map_err(failed)
    }
}

fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn list(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(root, &path, names);
        } else if let Ok(name) = path.strip_prefix(root) {
            names.push(name.to_string_lossy().replace('\\', "/"));
        }
    }
}

/// Returns false if a name such as `test-00000-of-00003.jsonl` shows that other parts are missing.
fn is_whole(names: &[String]) -> bool {
    !names.is_empty()
        && names.iter().all(|name| {
            let Some((head, tail)) = name.split_once("-of-") else { return true };
            let digits: String = tail.chars().take_while(char::is_ascii_digit).collect();
            let stem = head.trim_end_matches(|c: char| c.is_ascii_digit());
            let siblings =
                names.iter().filter(|other| other.starts_with(stem) && other.contains(&format!("-of-{digits}")));
            digits.parse::<usize>().is_ok_and(|wanted| siblings.count() == wanted)
        })
}

impl HubDataset {
    /// Returns the dataset that a name alone stands for.
    pub fn named(repo: &str) -> HubDataset {
        HubDataset { repo: repo.to_owned(), split: None, config: None, revision: None, file: None }
    }

    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Returns the name under which the dataset is pinned.
    pub fn pin_name(&self) -> String {
        format!("{}@{}", self.repo, self.revision())
    }

    /// Returns the commit, if the revision is one.
    pub fn commit(&self) -> Option<String> {
        self.revision.clone().filter(|revision| is_commit(revision))
    }

    /// Chooses the dataset's files from all files of the repository; returns them sorted.
    ///
    /// # Errors
    ///
    /// No file of the repository fits the settings; the text says what to name.
    pub fn choose(&self, names: &[String]) -> Result<Vec<String>, String> {
        let repo = &self.repo;
        if let Some(pattern) = &self.file {
            let glob = glob::Pattern::new(pattern).map_err(|error| format!("`file: {pattern}`: {error}"))?;
            let mut chosen: Vec<String> = names.iter().filter(|name| glob.matches(name)).cloned().collect();
            chosen.sort();
            return if chosen.is_empty() { Err(format!("{repo} has no file {pattern}")) } else { Ok(chosen) };
        }
        let is_about = |name: &str| {
            let file = name.rsplit('/').next().unwrap_or_default();
            name.starts_with('.') || file.starts_with("dataset_info") || file == "state.json" || file.contains("README")
        };
        let has_config = |name: &str| match &self.config {
            None => true,
            Some(config) => words(name).any(|word| word == *config) || name.split('/').any(|part| part == config),
        };
        let is_data = |name: &&String| !is_about(name) && has_config(name);
        let (data, unread): (Vec<&String>, Vec<&String>) =
            names.iter().filter(is_data).partition(|name| format_of(name).is_some());
        let splits = |name: &str| -> Vec<&str> {
            let known = SPLITS.iter().filter(|(_, names)| words(name).any(|word| names.contains(&word.as_str())));
            known.map(|(split, _)| *split).collect()
        };
        let mut chosen: Vec<String> = match &self.split {
            Some(split) => {
                let same = SPLITS.iter().find(|(_, names)| names.contains(&split.as_str()));
                let is_meant = |word: &str| word == split || same.is_some_and(|(_, names)| names.contains(&word));
                data.iter().filter(|name| words(name).any(|word| is_meant(&word))).map(|name| (*name).clone()).collect()
            }
            None => {
                let mut there: Vec<&str> = data.iter().flat_map(|name| splits(name)).collect();
                there.sort_unstable();
                there.dedup();
                if there.len() > 1 {
                    return Err(format!(
                        "{repo} has several splits; name one: `split: {}`",
                        there.join("` or `split: ")
                    ));
                }
                data.iter().map(|name| (*name).clone()).collect()
            }
        };
        if !chosen.is_empty() {
            chosen.sort();
            return Ok(chosen);
        }
        let is_parquet = unread.iter().any(|name| name.ends_with(".parquet"));
        if is_parquet && data.is_empty() {
            return Err(format!(
                "{repo} is Parquet, and this etalon was built without it: build it with `cargo install --path . --features parquet`"
            ));
        }
        let wanted = self.split.as_ref().map_or_else(|| "data".to_owned(), |split| format!("split {split}"));
        let mut shown: Vec<&str> = names.iter().map(String::as_str).take(8).collect();
        if names.len() > shown.len() {
            shown.push("…");
        }
        Err(format!("{repo} has no file that is its {wanted}; `file:` names one of {}", shown.join(", ")))
    }
}

/// Returns the words of a path in lower case: the parts between `/`, `.`, `-` and `_`.
fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(['/', '.', '-', '_']).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(dataset: &HubDataset, names: &[&str]) -> Result<Vec<String>, String> {
        dataset.choose(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn files_are_chosen_by_split_config_and_name() {
        let names = [
            "README.md",
            ".gitattributes",
            "main/train.jsonl",
            "main/test.jsonl",
            "socratic/test.jsonl",
            "dataset_infos.json",
        ];
        let mut dataset = HubDataset::named("a/b");
        assert!(choose(&dataset, &names).unwrap_err().contains("`split: test` or `split: train`"));
        dataset.split = Some("test".to_owned());
        assert_eq!(choose(&dataset, &names).unwrap(), ["main/test.jsonl", "socratic/test.jsonl"]);
        dataset.config = Some("main".to_owned());
        assert_eq!(choose(&dataset, &names).unwrap(), ["main/test.jsonl"]);
        dataset.split = Some("validation".to_owned());
        assert!(choose(&dataset, &names).unwrap_err().contains("no file that is its split validation"));
        assert_eq!(choose(&dataset, &["main/dev-00000-of-00002.csv"]).unwrap(), ["main/dev-00000-of-00002.csv"]);
        dataset.file = Some("*/train.jsonl".to_owned());
        assert_eq!(choose(&dataset, &names).unwrap(), ["main/train.jsonl"]);
    }

    #[test]
    fn a_missing_shard_is_noticed() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(is_whole(&names(&["data/test-00000-of-00002.csv", "data/test-00001-of-00002.csv"])));
        assert!(!is_whole(&names(&["data/test-00001-of-00002.csv"])));
        assert!(!is_whole(&[]) && is_whole(&names(&["test.csv"])));
    }
}
