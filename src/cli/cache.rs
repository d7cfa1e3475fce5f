//! `etalon cache`: what the cache holds, whether it is whole, what can go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{self, Exit};
use super::{Format, Global, open, print, talk};
use crate::digest::Digest;
use crate::plan::build_provider;
use crate::provider::Provider;
use crate::record::Records;
use crate::report;
use crate::spec::{Price, Workspace};
use crate::stage::Desk;
use crate::store::{Ledger, Store};

#[derive(Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Subcommand)]
enum CacheCommand {
    /// Show what the cache holds, how big that is, and what it cost
    Ls,
    /// Read every byte: what is damaged is removed where it can be made again, and named where not
    Verify,
    /// Remove results to which no run under runs/ leads; what was bought stays
    #[command(
        after_help = "Examples:\n  etalon cache gc --dry-run\n  etalon cache gc --grace 30d\n  etalon cache gc --completions --dry-run"
    )]
    Gc(GcArgs),
    /// Remove the whole cache, with everything that was bought
    Clear {
        /// Really do it; without it, say what would be lost
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
struct GcArgs {
    /// Say what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep what is younger than this: 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Remove the completions of models, too, that no pipeline names any more; needs --yes
    #[arg(long)]
    completions: bool,
    /// Remove completions that were paid for
    #[arg(long, requires = "completions")]
    yes: bool,
    /// Keep the results of the runs of this workspace, too: for a cache that several share
    #[arg(long, value_name = "DIR")]
    also: Vec<PathBuf>,
}

pub(super) fn run(global: &Global, arguments: &CacheArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    if !workspace.cache.join("layout").is_file() {
        return Err(Exit::usage(format!("{} is no cache yet: a run makes it", workspace.cache.display()), None));
    }
    match &arguments.command {
        CacheCommand::Ls => list(global, &workspace),
        CacheCommand::Verify => verify(global, &workspace),
        CacheCommand::Gc(arguments) => collect(global, &workspace, arguments),
        CacheCommand::Clear { yes } => clear(global, &workspace, *yes),
    }
}

/// A model that pipelines name.
struct Named {
    /// `ab: base`, by pipeline and model.
    names: Vec<String>,
    provider: Box<dyn Provider>,
    price: Option<Price>,
}

/// Returns the models that the pipelines of a workspace name, by the digest of their identity. A model whose identity
/// depends on what its server says is not among them.
fn named(workspace: &Workspace, store: &Arc<Store>) -> BTreeMap<String, Named> {
    let digests = store.file_digests();
    let mut found: BTreeMap<String, Named> = BTreeMap::new();
    for pipeline in open::pipelines(workspace) {
        let (Some(plan), _) = open::load(workspace, &pipeline, &[]) else { continue };
        let called: BTreeSet<&str> =
            plan.nodes.iter().flat_map(|node| node.callees.iter().map(|(_, model)| model.as_str())).collect();
        for (model, spec) in called.into_iter().filter_map(|name| Some((name, plan.spec.models.get(name)?))) {
            let Ok(provider) = build_provider(workspace, model, spec, None, &|path: &Path| digests.of(path)) else {
                continue;
            };
            let identity = Desk::identity(&*provider).to_string();
            let price = spec.call_price();
            let named = found.entry(identity).or_insert_with(|| Named { names: Vec::new(), provider, price });
            named.names.push(format!("{}: {model}", plan.spec.name));
            named.price = named.price.or(price);
        }
    }
    found
}

/// Returns what was bought of each model, the dearest first.
fn ledgers(store: &Store, named: &BTreeMap<String, Named>) -> Result<Vec<Ledger>, Exit> {
    let price = |identity: &str, raw: &str| {
        let known = named.get(identity)?;
        known.price?.cost(&known.provider.read(raw).ok()?.usage)
    };
    let mut ledgers = store.ledgers(&price)?;
    ledgers.sort_by(|a, b| (b.cost_usd, b.completions).partial_cmp(&(a.cost_usd, a.completions)).expect("no NaN"));
    Ok(ledgers)
}

fn list(global: &Global, workspace: &Workspace) -> Result<u8, Exit> {
    let store = Arc::new(Store::open(&workspace.cache)?);
    let named = named(workspace, &store);
    let (holdings, ledgers) = (store.holdings(), ledgers(&store, &named)?);
    let names = |ledger: &Ledger| named.get(&ledger.identity).map_or(&[][..], |named| &named.names);
    match global.format {
        Format::Json => {
            let models = ledgers.iter().map(|ledger| {
                let mut model = serde_json::to_value(ledger).expect("ledgers serialise");
                model["named_by"] = names(ledger).into();
                model
            });
            let models: Vec<Value> = models.collect();
            print(
                &json!({ "etalon": 1, "cache": workspace.cache, "holds": holdings, "completions": models }).to_string(),
            );
        }
        Format::Text => print(report::store(&workspace.cache, &holdings, &ledgers, &names).trim_end()),
    }
    Ok(exit::OK)
}

fn verify(global: &Global, workspace: &Workspace) -> Result<u8, Exit> {
    let verified = Store::open(&workspace.cache)?.verify_all()?;
    match global.format {
        Format::Json => {
            let mut document = serde_json::to_value(&verified).expect("it serialises");
            document["etalon"] = 1.into();
            print(&document.to_string());
        }
        Format::Text => {
            for damage in &verified.damage {
                let path = damage.path.strip_prefix(&workspace.cache).unwrap_or(&damage.path).display();
                print(&format!("{path}: {} ({})", damage.what, damage.then));
            }
            let (files, bytes) = (report::counted(verified.files, "file"), report::bytes(verified.bytes));
            match verified.damage.len() {
                0 => print(&format!("{files} ({bytes}): all whole")),
                n => print(&format!("{files} ({bytes}): {} not whole", report::counted(n as u64, "file"))),
            }
        }
    }
    Ok(if verified.damage.is_empty() { exit::OK } else { exit::STAGE })
}

/// Returns the keys of all runs of the workspaces.
fn roots(workspaces: &[&Path]) -> Result<BTreeSet<Digest>, Exit> {
    let mut roots = BTreeSet::new();
    for root in workspaces {
        let records = Records::all(root);
        roots.extend(records.runs().iter().flat_map(|run| run.nodes.iter().filter_map(|node| node.key)));
        if let Some(unread) = records.unread().first() {
            let help = "it may lead to results that would go: use the etalon that wrote it, or remove it";
            return Err(Exit::usage(unread.to_string(), Some(help.to_owned())));
        }
    }
    Ok(roots)
}

fn collect(global: &Global, workspace: &Workspace, arguments: &GcArgs) -> Result<u8, Exit> {
    let (root, cache) = (std::fs::canonicalize(&workspace.root), std::fs::canonicalize(&workspace.cache));
    let is_own = root.is_ok_and(|root| cache.is_ok_and(|cache| cache.starts_with(root)));
    if !is_own && arguments.also.is_empty() {
        let help =
            "name the other workspaces that use it: `--also ../other`; or this one once more, if there is no other";
        let message = format!("{} lies outside of the workspace, and others may use it", workspace.cache.display());
        return Err(Exit::usage(message, Some(help.to_owned())));
    }
    if let Some(missing) = arguments.also.iter().find(|folder| !folder.is_dir()) {
        return Err(Exit::usage(format!("there is no directory {}", missing.display()), None));
    }
    let workspaces: Vec<&Path> =
        std::iter::once(&workspace.root).chain(&arguments.also).map(PathBuf::as_path).collect();
    let roots = roots(&workspaces)?;
    let store = Arc::new(Store::open(&workspace.cache)?);
    let garbage = store.garbage(&roots, arguments.grace);
    let mut unnamed = Vec::new();
    if arguments.completions {
        let mut named = named(workspace, &store);
        for folder in &arguments.also {
            named.extend(self::named(&Workspace::open(Some(folder))?, &store));
        }
        unnamed = ledgers(&store, &named)?;
        unnamed.retain(|ledger| !named.contains_key(&ledger.identity) && is_old(ledger, arguments.grace));
    }
    let is_dry = arguments.dry_run;
    if !is_dry {
        store.collect(&garbage)?;
        if arguments.yes {
            unnamed.iter().try_for_each(|ledger| store.forget_completions(&ledger.identity))?;
        }
    }
    match global.format {
        Format::Json => {
            let removed = !is_dry && arguments.yes;
            print(
                &json!({
                    "etalon": 1, "dry_run": is_dry, "results": garbage,
                    "completions": { "removed": removed, "models": unnamed },
                })
                .to_string(),
            );
        }
        Format::Text => {
            print(report::garbage(&garbage, &unnamed, is_dry, arguments.yes).trim_end());
        }
    }
    if !unnamed.is_empty() && !is_dry && !arguments.yes {
        talk("completions stay: they were paid for; `--completions --yes` removes them");
    }
    Ok(exit::OK)
}

/// Returns true if the last completion of a model came before the grace time.
fn is_old(ledger: &Ledger, grace: Duration) -> bool {
    let last = ledger.last.as_deref().and_then(|at| humantime::parse_rfc3339(at).ok());
    last.is_none_or(|last| last.elapsed().unwrap_or_default() >= grace)
}

fn clear(global: &Global, workspace: &Workspace, is_sure: bool) -> Result<u8, Exit> {
    if is_sure {
        Store::clear(&workspace.cache)?;
        if global.format == Format::Json {
            print(&json!({ "etalon": 1, "cleared": workspace.cache }).to_string());
        }
        talk(&format!("{} is gone, with everything that was bought", workspace.cache.display()));
        return Ok(exit::OK);
    }
    list(global, workspace)?;
    Err(Exit::usage("nothing was removed: `etalon cache clear --yes` removes all of this", None))
}
