//! The writer thread: drains everything that waits, writes it at once, forces it at once.
//!
//! While one fdatasync runs, requests gather; they share the next one. What always holds: an event is sent only after
//! the disk has done what it says, and after the first failure no event but that failure is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_planted::{Fault, planted};
use mainstay_record::{Batch, EntryId};
use parking_lot::Mutex;

use crate::core::LogCore;
use crate::error::{LogError, RepairError};
use crate::metrics::LogMetrics;
use crate::options::Flush;
use crate::space::Space;
use crate::spare::SpareStatus;
use crate::view::{Command, Ending, Generation, Next, View, WhileFull, take_forget};

/// Reported on the writer thread, in the order of the log. An event may name a batch that a truncation, asked for
/// meanwhile, takes away: compare the epoch.
#[derive(Debug, Clone)]
pub enum LogEvent {
    /// Everything through `last` is written, not forced. Only with [`Flush::Async`].
    Written { last: EntryId },
    /// Everything through `last` survives a power cut.
    Durable { last: EntryId },
    /// The log has started over, durably. What was reported before was of the log as it was.
    Restarted,
    /// What is left has changed; [`Space::Plenty`] until the first of these.
    Space(Space),
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
    spares: Arc<SpareStatus>,
    space: Space,
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
        (spares, figures): (Arc<SpareStatus>, Arc<Mutex<Figures>>),
    ) -> Self {
        Self {
            view,
            core: Some(core),
            flush,
            events,
            figures,
            spares,
            space: Space::Plenty,
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
                Next::Idle => Ok(()),
                Next::End(Ending::Close) => break core.finish(),
                Next::End(Ending::Abandon) => break Ok(()),
                Next::Failed(error) => break Err(error),
            };
            self.figures.lock().busy_since = None;
            if let Err(error) = step {
                break Err(error);
            }
            self.tell_space();
        };
        self.figures.lock().busy_since = None;
        self.ended = true;
        if let Err(error) = &result {
            self.report_failure(error);
            core.leave_reason(error);
        }
        result
    }

    fn execute(&mut self, core: &mut LogCore, mut generation: Generation) -> Result<(), Arc<LogError>> {
        self.commands.reverse();
        while let Some(command) = self.commands.pop() {
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
                Command::SetComplete(done) => {
                    core.set_complete()?;
                    let _ = done.send(());
                }
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
                    (self.events)(LogEvent::Restarted);
                    generation = generation.next();
                }
            }
        }
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
        let mut done = 0;
        while let Err(error) = core.append(&self.run[done..]) {
            if !matches!(*error, LogError::NoSpace(_)) {
                return Err(error);
            }
            done = self.run.partition_point(|batch| batch.index() <= core.last().index);
            self.wait_for_space(core, error)?;
        }
        self.view.written(&self.run, generation);
        self.run.clear();
        Ok(())
    }

    /// Waits a moment for the space that `error` speaks of. What lets segments be forgotten is done out of turn: it may
    /// be what makes space.
    fn wait_for_space(&mut self, core: &mut LogCore, error: Arc<LogError>) -> Result<(), Arc<LogError>> {
        self.tell_space();
        self.commands.reverse();
        let mine = take_forget(&mut self.commands);
        self.commands.reverse();
        let restarts = self.commands.iter().any(|command| matches!(command, Command::Restart(..)));
        let next = match mine {
            Some(through) => WhileFull::Forget(through),
            // What was asked for after the log was to start over is not for the log as it is now.
            None => self.view.wait_for_space(!restarts),
        };
        match next {
            WhileFull::TryAgain => Ok(()),
            WhileFull::Forget(through) => {
                core.forget(through)?;
                self.view.forgot(core.base());
                Ok(())
            }
            WhileFull::Ended => Err(error),
            WhileFull::Failed(error) => Err(error),
        }
    }

    fn tell_space(&mut self) {
        let space = self.spares.space.get();
        if space != self.space {
            self.space = space;
            tracing::info!(?space, "space for the log");
            (self.events)(LogEvent::Space(space));
        }
    }

    fn force(&mut self, core: &mut LogCore) -> Result<(), Arc<LogError>> {
        self.flush_due = None;
        let started = Instant::now();
        if planted(Fault::ReportBeforeFsync) {
            (self.events)(LogEvent::Durable { last: core.last() });
        }
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
