//! The progress of a run, on standard error: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Volume, talk};
use crate::execute::{Event, Listener};
use crate::report;
use crate::stage::Progress;

/// Time between two looks at the running nodes.
const TICK: Duration = Duration::from_millis(100);
/// A node that ends sooner gets no bar.
const PATIENCE: Duration = Duration::from_millis(300);
/// Without bars: time between two lines about a running node.
const SILENCE: Duration = Duration::from_secs(30);

/// Shows a run while it goes on.
pub(super) struct Display {
    volume: Volume,
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<String, Running>>,
    is_over: AtomicBool,
}

struct Running {
    progress: Arc<Progress>,
    start: Instant,
    bar: Option<ProgressBar>,
    /// Without bars: when the last line about the node was printed.
    told: Instant,
    /// The number of calls at the last updates, at most ten seconds back, to compute the rate.
    looks: Vec<(Instant, u64)>,
}

impl Display {
    /// Starts the display. There are bars only where a person watches: on a terminal, outside of CI, and not quiet.
    pub fn new(volume: Volume) -> Arc<Display> {
        let is_watched = std::io::stderr().is_terminal()
            && std::env::var_os("CI").is_none()
            && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let bars = (is_watched && volume != Volume::Quiet)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        let display = Arc::new(Display { volume, bars, running: Mutex::default(), is_over: AtomicBool::new(false) });
        let ticker = display.clone();
        std::thread::spawn(move || {
            while !ticker.is_over.load(Ordering::Relaxed) {
                ticker.tick();
                std::thread::sleep(TICK);
            }
        });
        display
    }

    /// Returns the listener that shows events.
    pub fn listener(self: &Arc<Display>) -> Listener {
        let display = self.clone();
        Arc::new(move |event| display.take(&event))
    }

    fn take(&self, event: &Event) {
        let mut running = self.running.lock().expect("no panic while locked");
        match event {
            Event::NodeStarted { node, progress, .. } => {
                let now = Instant::now();
                let started =
                    Running { progress: progress.clone(), start: now, bar: None, told: now, looks: vec![(now, 0)] };
                running.insert(node.clone(), started);
            }
            Event::NodeFinished(run) => {
                if let Some(bar) = running.remove(&run.node).and_then(|running| running.bar) {
                    bar.finish_and_clear();
                }
            }
            Event::Started { .. } | Event::NodeWaiting { .. } => {}
        }
        drop(running);
        let is_verbose = self.volume == Volume::Verbose;
        if let Some(line) = report::line(event, is_verbose).filter(|_| self.volume != Volume::Quiet) {
            self.say(&line);
        }
    }

    /// Prints a line above the bars.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| talk(line)),
            None => talk(line),
        }
    }

    fn tick(&self) {
        let mut running = self.running.lock().expect("no panic while locked");
        let now = Instant::now();
        let mut lines = Vec::new();
        for (node, running) in running.iter_mut() {
            if running.start.elapsed() < PATIENCE {
                continue;
            }
            let calls = running.progress.calls();
            running.looks.push((now, calls));
            let old = running.looks.iter().filter(|(at, _)| now - *at > Duration::from_secs(10)).count();
            running.looks.drain(..old.min(running.looks.len() - 2));
            let (first, before) = running.looks[0];
            let rate = (calls - before) as f64 / (now - first).as_secs_f64().max(1e-3);
            let done = running.progress.done.load(Ordering::Relaxed);
            let total = running.progress.total.load(Ordering::Relaxed);
            match &self.bars {
                Some(bars) => {
                    let bar = running.bar.get_or_insert_with(|| bars.add(new_bar(node)));
                    bar.set_length(total.max(done));
                    bar.set_position(done);
                    bar.set_message(report::progress(&running.progress, rate, running.start.elapsed()));
                }
                None if self.volume != Volume::Quiet && running.told.elapsed() >= SILENCE => {
                    running.told = now;
                    let text = report::progress(&running.progress, rate, running.start.elapsed());
                    lines.push(format!("{:<8}{node}  {done} of {total}  {text}", "running"));
                }
                None => {}
            }
        }
        drop(running);
        lines.iter().for_each(|line| self.say(line));
    }

    /// Ends the display and removes the bars.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

fn new_bar(node: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<16} {bar:12} {pos}/{len} {wide_msg}")
        .expect("a valid template")
        .progress_chars("━╸ ");
    ProgressBar::new(0).with_style(style).with_prefix(node.to_owned())
}
