//! Runs the owner's program on one slot, as the machine orders it.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior},
};

use super::{
    Gpu, Program, Settings,
    guard::GRACE,
    log::Log,
    machine::{Look, Machine, Order, State},
    process::Process,
};
use crate::slots::Slots;

/// How often the slot is looked at while the program is switched on.
const LOOK: Duration = Duration::from_millis(500);

/// What is known of one slot's program.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) gpu: Gpu,
    pub(super) log: Arc<Log>,
    machine: Mutex<Machine>,
}

impl Workload {
    pub(super) fn new(gpu: Gpu, log: Log) -> Workload {
        Workload { gpu, log: Arc::new(log), machine: Mutex::new(Machine::new(Instant::now())) }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        // Its changes are assignments: a panic elsewhere leaves nothing that is worse than late.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says when the slot's program is gone.
pub(super) type Asker = oneshot::Sender<()>;

/// The loop of one slot. Dropping it ends the program.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) workload: Arc<Workload>,
    pub(super) slots: Arc<Slots>,
    pub(super) settings: watch::Sender<Settings>,
    pub(super) asked: mpsc::Receiver<Asker>,
    /// This program, whose `idle-guard` is the parent of the owner's.
    pub(super) agent: PathBuf,
    pub(super) running: Running,
}

#[derive(Debug, Default)]
pub(super) struct Running {
    process: Option<Process>,
    /// What was started last.
    program: Option<Program>,
    /// Who waits for its end.
    askers: Vec<Asker>,
}

impl Supervisor {
    pub(super) async fn run(mut self) -> Infallible {
        let mut settings = self.settings.subscribe();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_on = settings.borrow_and_update().command.is_some();
            tokio::select! {
                _ = tick.tick(), if is_on => {}
                // Fails only when the sender is gone, and that is ours.
                _ = settings.changed() => {}
                Some(asker) = self.asked.recv() => self.running.askers.push(asker),
                exit = ended(&mut self.running.process) => self.ended(&exit),
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let settings = self.settings.borrow().clone();
        let slot = self.workload.gpu.slot;
        let program = settings.command.as_ref().map(|command| command.of(&self.workload.gpu));
        let running = &self.running;
        let look = Look {
            after: program.is_some().then_some(settings.after),
            is_idle: running.askers.is_empty() && self.slots.free().contains(&slot),
            is_other: program.is_some() && running.program.is_some() && running.program != program,
        };
        let order = self.workload.machine().look(look, Instant::now());
        match (order, program) {
            (Some(Order::Start), Some(program)) => self.start(program),
            (Some(Order::Stop), _) => self.stop(),
            _ => {}
        }
        if self.running.process.is_none() {
            if look.is_other {
                self.running.program = None;
            }
            for asker in self.running.askers.drain(..) {
                // Who asked may have been stopped itself.
                let _ = asker.send(());
            }
        }
    }

    fn start(&mut self, program: Program) {
        let Workload { gpu, log, .. } = &*self.workload;
        log.note(&format!("started: {}", program.words.join(" ")));
        if program.only_gpu.is_none() {
            log.note(&format!("it sees all GPUs: it has to keep to number {}, as it was told", gpu.index));
        }
        let started = Process::start(&self.agent, &program, log);
        self.running.program = Some(program);
        match started {
            Ok(process) => {
                tracing::info!(slot = gpu.slot, "the idle workload is started");
                self.running.process = Some(process);
            }
            Err(error) => self.ended(&format!("it cannot be started: {error}")),
        }
    }

    fn stop(&mut self) {
        tracing::info!(slot = self.workload.gpu.slot, "the idle workload is stopped");
        let asked = format!("asked to end, within {} s", GRACE.as_secs());
        self.workload.log.note(if GRACE.is_zero() { "ended" } else { &asked });
        if let Some(process) = &mut self.running.process {
            process.stop();
        }
    }

    fn ended(&mut self, exit: &str) {
        self.running.process = None;
        let now = Instant::now();
        let mut machine = self.workload.machine();
        machine.ended(exit.to_owned(), now);
        let standing = machine.standing(now);
        drop(machine);
        self.workload.log.note(&format!("gone: {exit}"));
        if let Some(left) = standing.left.filter(|_| standing.state == State::BackingOff) {
            let (slot, seconds) = (self.workload.gpu.slot, left.as_secs_f64().ceil());
            tracing::warn!(
                slot,
                "the idle workload ended by itself ({exit}); it is started again in {seconds} s"
            );
        }
    }
}

async fn ended(process: &mut Option<Process>) -> String {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}
