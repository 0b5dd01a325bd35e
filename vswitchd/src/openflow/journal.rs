//! What has happened to a bridge's flows, kept until flow monitors have been told.
//!
//! Nothing is kept while nobody watches. Who changes flows notes it here ([`Journal::note`]); who tells
//! peers takes it ([`Journal::take`]).
//!
//! Cost: nothing but a test while nobody watches, else a copy of the flow for each change.

use vswitch_dpapi::Removal;
use vswitch_flow::{FlowRule, Instructions};

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is new, or new in the place of another.
    Added,
    /// It does something else, or has another cookie.
    Modified,
    /// It has gone.
    Removed(Removal),
}

/// One thing that happened to one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Steps of one change have the same number.
    pub batch: u64,
    /// The change that was asked for, by its place among those made together; `None` for what no
    /// peer asked for, and for what other changes brought with them.
    pub asked: Option<usize>,
    /// What happened.
    pub turn: Turn,
    /// The flow as it is now, or was last.
    pub rule: FlowRule,
    /// What it did before, if that was something else.
    pub before: Option<Instructions>,
    /// When it was added, on the clock of [`Journal::tick`].
    pub added: u64,
}

/// The steps that are to be told.
#[derive(Debug, Default)]
pub struct Journal {
    steps: Vec<Step>,
    watched: bool,
    clock: u64,
    batch: u64,
    asked: Option<usize>,
}

impl Journal {
    /// Begins or ends taking notes.
    pub fn watch(&mut self, watched: bool) {
        self.watched = watched;
        if !watched {
            self.steps.clear();
        }
    }

    /// Whether notes are taken.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether anything waits to be told.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is to be told, in order.
    pub fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// Forgets what was asked for and not told: it did not come to stay.
    pub fn forget_asked(&mut self) {
        self.steps.retain(|step| step.asked.is_none());
    }

    /// The next moment, later than all before.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// What is noted from now on belongs to one change.
    pub fn begin(&mut self, asked: Option<usize>) {
        self.batch += 1;
        self.asked = asked;
    }

    /// What is noted from now on came with a change, but was not asked for.
    pub fn aside(&mut self) {
        self.asked = None;
    }

    /// Notes what happened to a flow.
    pub fn note(&mut self, turn: Turn, rule: &FlowRule, added: u64, before: Option<&Instructions>) {
        if self.watched {
            self.steps.push(Step {
                batch: self.batch,
                asked: self.asked,
                turn,
                rule: rule.clone(),
                before: before.cloned(),
                added,
            });
        }
    }
}
