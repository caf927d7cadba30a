//! Which rules held, as the phases are evaluated.

use super::explanation::{RuleRef, Step};
use crate::cache::settings::RuleId;
use crate::rules::phase::{BulkItem, Described, Phase, Phases, Trace};

/// Writes down what [`plan`](crate::rules::plan) does.
#[derive(Default)]
pub(super) struct Recorder {
    events: Vec<Event>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Event {
    phase: Phase,
    rule: RuleId,
    without_effect: Option<&'static str>,
}

impl Trace for Recorder {
    fn matched(&mut self, phase: Phase, rule: RuleId) {
        self.events.push(Event {
            phase,
            rule,
            without_effect: None,
        });
    }

    fn without_effect(&mut self, phase: Phase, rule: RuleId, why: &'static str) {
        // A rewrite is told of first, and then that part of it could not be done.
        self.events
            .retain(|event| (event.phase, event.rule) != (phase, rule));
        self.events.push(Event {
            phase,
            rule,
            without_effect: Some(why),
        });
    }
}

impl Recorder {
    /// The steps in order. With `all`, those of rules that did not hold as well, in the phases up to
    /// the last one that was `reached`.
    pub(super) fn steps(&self, phases: &Phases, all: bool, reached: Phase) -> Vec<Step> {
        if !all {
            let step = |event: &Event| step_of(phases, event);
            return self.events.iter().filter_map(step).collect();
        }
        let mut steps = Vec::new();
        for phase in Phase::ALL.iter().filter(|phase| **phase <= reached) {
            for (rule, described) in rules_of(phases, *phase) {
                let event = self
                    .events
                    .iter()
                    .find(|event| (event.phase, event.rule) == (*phase, rule));
                let step = event.and_then(|event| step_of(phases, event));
                steps.push(step.unwrap_or_else(|| Step::of(*phase, &described, false)));
            }
        }
        steps
    }
}

fn step_of(phases: &Phases, event: &Event) -> Option<Step> {
    let described = phases.find(event.phase, event.rule)?;
    Some(Step {
        without_effect: event.without_effect,
        ..Step::of(event.phase, &described, true)
    })
}

fn rules_of(phases: &Phases, phase: Phase) -> impl Iterator<Item = (RuleId, Described<'_>)> {
    (0..).map(RuleId).map_while(move |id| {
        let described = phases.find(phase, id)?;
        Some((id, described))
    })
}

/// The rule behind an id.
pub(super) fn rule(phases: &Phases, phase: Phase, id: RuleId) -> Option<RuleRef> {
    phases.find(phase, id).map(|rule| RuleRef::of(&rule))
}

/// A row of a table of redirects.
pub(super) fn row(item: &BulkItem) -> RuleRef {
    RuleRef {
        name: format!("{}{}", item.host, item.path),
        at: format!("{}:{}", item.file, item.line),
    }
}

/// The step of such a row.
pub(super) fn row_step(item: &BulkItem) -> Step {
    Step {
        phase: Phase::BulkRedirects.as_str(),
        rule: row(item),
        held: true,
        without_effect: None,
        expression: String::new(),
        sets: vec![("target".to_owned(), item.target.clone())],
    }
}
