//! The progress of a pull or a load: a bar for each layer on a terminal, else a line when a layer is done.
//!
//! Invariant: everything goes to stderr; stdout has the result alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use runtime::error::harmless;
use runtime::image::{Digest, Event, Phase, Progress};

use crate::output;

/// A watcher that shows the progress.
#[derive(Debug)]
pub(crate) struct Shown {
    quiet: bool,
    bars: Option<MultiProgress>,
    layers: Mutex<HashMap<Digest, Layer>>,
}

#[derive(Debug)]
struct Layer {
    bar: ProgressBar,
    phase: Option<Phase>,
}

impl Shown {
    /// Bars on a terminal, lines elsewhere, nothing if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let bars = (!quiet && output::stderr_is_terminal())
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
            // On a terminal that cannot be redrawn they would show nothing.
            .filter(|bars| !bars.is_hidden());
        Self { quiet, bars, layers: Mutex::new(HashMap::new()) }
    }

    /// Leaves the bars as they are.
    pub(crate) fn finish(&self) {
        for layer in self.layers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            layer.bar.abandon();
        }
    }

    fn add(&self, all: &[(Digest, u64)]) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        for (digest, size) in all {
            if layers.contains_key(digest) {
                continue;
            }
            let bar = match &self.bars {
                Some(bars) => bars.add(ProgressBar::new(*size)),
                None => ProgressBar::hidden(),
            };
            bar.set_style(style());
            bar.set_prefix(digest.short().to_owned());
            bar.set_message("waiting");
            bar.tick();
            layers.insert(digest.clone(), Layer { bar, phase: None });
        }
    }

    /// A warning is never left out, and stands above the bars.
    fn warn(&self, what: &str) {
        let line = format!("warning: {}", harmless(what));
        match &self.bars {
            // A failure to draw is ignored.
            Some(bars) => drop(bars.println(line)),
            None => output::note(line),
        }
    }

    fn layer(&self, digest: &Digest, phase: Phase, done: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = layers.get_mut(digest) else { return };
        if layer.phase != Some(phase) {
            layer.phase = Some(phase);
            layer.bar.set_message(word(phase));
            // The rate is that of the current phase.
            layer.bar.reset_eta();
            if self.bars.is_none() && !self.quiet && matches!(phase, Phase::Complete | Phase::Exists) {
                output::note(format_args!("{}: {}", digest.short(), word(phase)));
            }
        }
        layer.bar.set_position(done);
        if matches!(phase, Phase::Complete | Phase::Exists) {
            layer.bar.abandon();
        }
    }
}

impl Progress for Shown {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Pulling(reference) if !self.quiet => output::note(format_args!("pulling {reference}")),
            Event::Pulling(_) | Event::Syncing => {}
            Event::Layers(all) => self.add(all),
            Event::Layer { digest, phase, done, .. } => self.layer(digest, *phase, *done),
            Event::Warning(what) => self.warn(what),
        }
    }
}

/// The template for a terminal of `columns`: the numbers first, then the rate, then the bar.
fn template(columns: usize) -> &'static str {
    match columns {
        0..56 => "{prefix} {msg:<11} {decimal_bytes:>9}/{decimal_total_bytes:<9}",
        56..70 => {
            "{prefix} {msg:<11} {decimal_bytes:>9}/{decimal_total_bytes:<9} {decimal_bytes_per_sec:>11}"
        }
        _ => {
            "{prefix} {msg:<11} [{wide_bar}] {decimal_bytes:>9}/{decimal_total_bytes:<9} {decimal_bytes_per_sec:>11}"
        }
    }
}

fn style() -> ProgressStyle {
    let columns = output::columns(std::io::stderr()).unwrap_or(usize::MAX);
    ProgressStyle::with_template(template(columns))
        .expect("the templates are constants that a test reads")
        .progress_chars("=> ")
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Downloading => "downloading",
        Phase::Downloaded => "downloaded",
        Phase::Uploading => "uploading",
        Phase::Unpacking => "unpacking",
        Phase::Complete => "complete",
        Phase::Exists => "exists",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_is_one() {
        for columns in [20, 60, 80] {
            ProgressStyle::with_template(template(columns)).unwrap();
        }
    }

    #[test]
    fn a_layer_is_shown_without_a_terminal() {
        let shown = Shown::new(true);
        let digest = Digest::of(b"");
        shown.event(&Event::Layers(&[(digest.clone(), 10)]));
        shown.event(&Event::Layer { digest: &digest, phase: Phase::Complete, done: 10, total: 10 });
        shown.finish();
    }
}
