//! The writer thread: drains everything that waits, writes it at once, forces it at once.
//!
//! While one fdatasync runs, requests gather; they share the next one. What always holds: an event is sent only after
//! the disk has done what it says, and after the first failure no event but that failure is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_record::{Batch, EntryId};
use parking_lot::Mutex;

use crate::core::LogCore;
use crate::error::{LogError, RepairError};
use crate::metrics::LogMetrics;
use crate::options::Flush;
use crate::view::{Command, Ending, Generation, Next, View};

/// Reported on the writer thread, in the order of the log. An event may name a batch that a truncation, asked for
/// meanwhile, takes away: compare the epoch.
#[derive(Debug, Clone)]
pub enum LogEvent {
    /// Everything through `last` is written, not forced. Only with [`Flush::Async`].
    Written { last: EntryId },
    /// Everything through `last` survives a power cut.
    Durable { last: EntryId },
    /// The log has stopped for good.
    Failed(Arc<LogError>),
}

/// Figures that the writer keeps for [`crate::Log::metrics`].
#[derive(Debug, Default)]
pub(crate) struct Figures {
    metrics: LogMetrics,
    busy_since: Option<Instant>,
}

impl Figures {
    pub(crate) fn snapshot(&self) -> LogMetrics {
        LogMetrics { busy_for: self.busy_since.map(|since| since.elapsed()), ..self.metrics }
    }
}

pub(crate) struct Writer {
    view: Arc<View>,
    core: Option<LogCore>,
    flush: Flush,
    events: Box<dyn Fn(LogEvent) + Send>,
    figures: Arc<Mutex<Figures>>,
    commands: Vec<Command>,
    run: Vec<Batch>,
    flush_due: Option<Instant>,
    ended: bool,
}

impl Writer {
    pub(crate) fn new(
        view: Arc<View>,
        core: LogCore,
        flush: Flush,
        events: Box<dyn Fn(LogEvent) + Send>,
        figures: Arc<Mutex<Figures>>,
    ) -> Self {
        Self {
            view,
            core: Some(core),
            flush,
            events,
            figures,
            commands: Vec::new(),
            run: Vec::new(),
            flush_due: None,
            ended: false,
        }
    }

    /// Works until the log is closed, abandoned, or has failed.
    pub(crate) fn work(mut self) -> Result<(), Arc<LogError>> {
        let Some(mut core) = self.core.take() else { return Ok(()) };
        let result = loop {
            let next = self.view.next(&mut self.commands, self.flush_due);
            self.figures.lock().busy_since = Some(Instant::now());
            let step = match next {
                Next::Commands(generation) => self.execute(&mut core, generation),
                Next::FlushDue => self.force(&mut core),
                Next::End(Ending::Close) => break core.close(),
                Next::End(Ending::Abandon) => break Ok(()),
                Next::Failed(error) => break Err(error),
            };
            self.figures.lock().busy_since = None;
            if let Err(error) = step {
                break Err(error);
            }
        };
        self.figures.lock().busy_since = None;
        self.ended = true;
        if let Err(error) = &result {
            self.report_failure(error);
        }
        result
    }

    fn execute(&mut self, core: &mut LogCore, mut generation: Generation) -> Result<(), Arc<LogError>> {
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            match command {
                Command::Append(batches) if self.run.is_empty() => self.run = batches,
                Command::Append(batches) => self.run.extend(batches),
                Command::Truncate(keep, fate) => {
                    self.write_run(core, generation)?;
                    core.truncate(keep, fate)?;
                    self.view.set_quarantined(core.quarantined());
                    generation = generation.next();
                }
                Command::Forget(through) => {
                    self.write_run(core, generation)?;
                    core.forget(through)?;
                    self.view.forgot(core.base());
                }
                Command::SetComplete => core.set_complete()?,
                Command::Repair(batch, reply) => {
                    self.write_run(core, generation)?;
                    let repaired = core.repair(&batch);
                    let failed = match &repaired {
                        Err(RepairError::Stopped(error)) => Some(Arc::clone(error)),
                        _ => None,
                    };
                    let _ = reply.send(repaired);
                    failed.map_or(Ok(()), Err)?;
                }
                Command::Restart(base, set_aside_after) => {
                    self.write_run(core, generation)?;
                    core.restart_at(*base, set_aside_after)?;
                    self.view.set_quarantined(core.quarantined());
                    generation = generation.next();
                }
            }
        }
        self.commands = commands;
        self.write_run(core, generation)?;
        match self.flush {
            Flush::Sync => self.force(core),
            // A truncation forces what it leaves.
            Flush::Async { .. } if !core.is_dirty() => self.force(core),
            Flush::Async { interval } => {
                self.note(core, None);
                (self.events)(LogEvent::Written { last: core.last() });
                self.flush_due.get_or_insert_with(|| Instant::now() + interval);
                Ok(())
            }
        }
    }

    fn write_run(&mut self, core: &mut LogCore, generation: Generation) -> Result<(), Arc<LogError>> {
        if self.run.is_empty() {
            return Ok(());
        }
        core.append(&self.run)?;
        self.view.written(&self.run, generation);
        self.run.clear();
        Ok(())
    }

    fn force(&mut self, core: &mut LogCore) -> Result<(), Arc<LogError>> {
        self.flush_due = None;
        let started = Instant::now();
        core.sync()?;
        self.note(core, Some(started.elapsed()));
        (self.events)(LogEvent::Durable { last: core.last() });
        Ok(())
    }

    /// Updates the figures, before the event that lets others look at them.
    fn note(&self, core: &LogCore, sync: Option<Duration>) {
        let work = core.work();
        let metrics = &mut self.figures.lock().metrics;
        metrics.batches = work.batches;
        metrics.bytes = work.bytes;
        metrics.writes = work.writes;
        metrics.syncs = work.syncs;
        metrics.rolls = work.rolls;
        metrics.truncations = work.truncations;
        let took = sync.unwrap_or_default();
        metrics.sync_time += took;
        metrics.sync_max = metrics.sync_max.max(took);
    }

    fn report_failure(&self, error: &Arc<LogError>) {
        let error = self.view.fail(error);
        tracing::error!(%error, "the log has stopped for good");
        (self.events)(LogEvent::Failed(error));
    }
}

impl Drop for Writer {
    /// A panic must not leave callers waiting for an event that never comes.
    fn drop(&mut self) {
        if !self.ended {
            self.report_failure(&Arc::new(LogError::WriterGone));
        }
    }
}
