//! Holds each action against the invariants, and notes it down.

use super::*;

impl World<'_> {
    pub(super) fn note_action(&mut self, event: Event, action: Action) {
        match action {
            // Looked at with the event as a whole.
            Action::Notice(_) => {}
            Action::Probe(id) => {
                let since = self.now;
                self.check_may_start(id);
                assert!(self.is_probed(id), "nothing to probe");
                let note = &mut self.notes[id.0];
                note.life = Life::Probing { since };
                note.checking = true;
            }
            Action::Start(id) => self.note_start(event, id),
            Action::Check(id) => {
                let checked = matches!(self.settings(id).ready, Ready::Checked { .. });
                let note = &mut self.notes[id.0];
                let running = matches!(note.life, Life::Running { .. });
                assert!(checked && running && !note.ready, "nothing to check");
                assert!(!note.checking, "two checks at once");
                assert!(
                    note.told.is_none() && self.stop.is_none(),
                    "checked at a stop"
                );
                note.checking = true;
            }
            Action::EndCheck(id) => {
                let note = &mut self.notes[id.0];
                assert!(note.checking, "no check to end");
                note.checking = false;
            }
            Action::Stop { id, kill, rest } => self.note_told(event, id, kill, rest),
            Action::StopLeftovers(id) => {
                assert_eq!(event, Event::KeeperKilled(id));
                let note = self.note(id);
                assert!(note.lives(), "nothing is left");
                assert!(note.killed.is_none(), "told after SIGKILL");
            }
            Action::Kill(id) => self.note_kill(event, id),
            Action::KillKeeper(id) => {
                let killing = self.killing().expect("everything is killed");
                assert_eq!(self.now, killing.after(HALF));
                let note = self.note(id);
                assert!(note.lives() && note.orphaned.is_none(), "it has no keeper");
            }
            Action::Arm(timer, at) => {
                assert!(at >= self.now, "a timer in the past");
                if let Timer::Settled(id) = timer {
                    assert!(self.note(id).failures > 0, "a timer for nothing");
                }
                self.timers.insert(timer, at);
            }
            Action::Disarm(timer) => {
                let armed = self.timers.remove(&timer);
                assert!(armed.is_some(), "{timer:?} was not armed");
            }
            Action::Exit(status) => self.note_exit(event, status),
        }
    }

    /// Something else may answer in its place.
    fn is_probed(&self, id: Id) -> bool {
        self.settings(id).ready == (Ready::Checked { probe: true }) && !self.note(id).ready
    }

    /// Those that it depends on hold it up no more.
    pub(super) fn has_what_it_needs(&self, id: Id) -> bool {
        let over = |lower: Id| {
            let note = self.note(lower);
            let is_over = matches!(note.life, Life::Left | Life::Over) && note.restart.is_none();
            is_over && !self.settings(lower).essential
        };
        let mut direct = self.rules.graph.direct(id).iter();
        direct.all(|lower| self.note(*lower).ready || over(*lower))
    }

    fn check_may_start(&self, id: Id) {
        assert!(self.stop.is_none(), "a start after the stop began");
        match self.note(id).life {
            Life::Waiting => assert!(
                self.has_what_it_needs(id),
                "a start before those that it depends on are ready"
            ),
            Life::Pausing { until } => assert!(until <= self.now, "a start in the pause"),
            Life::Probing { .. } => {}
            life => panic!("a start of a service that is {life:?}"),
        }
    }

    fn note_start(&mut self, event: Event, id: Id) {
        self.check_may_start(id);
        match self.note(id).life {
            Life::Probing { since } => {
                let probed = matches!(event, Event::Probed { id: of, .. } if of == id);
                let in_time = self.now == since.after(SECOND);
                let over = in_time && event == Event::Expired(Timer::ProbeOver(id));
                assert!(probed || over, "a start before the probe is over");
            }
            _ => assert!(!self.is_probed(id), "a start without a probe"),
        }
        let note = &mut self.notes[id.0];
        *note = Note {
            life: Life::Forked,
            start: self.now,
            ready: note.ready,
            failures: note.failures,
            ..Note::NEW
        };
    }

    /// Whether a service above this one must be gone before this one is stopped.
    pub(super) fn is_waited_for(&self, upper: Id, until: Moment) -> bool {
        let note = self.note(upper);
        note.lives() && note.passed.is_none_or(|passed| passed > until)
    }

    fn note_told(&mut self, event: Event, id: Id, kill: Option<Moment>, rest: Option<Moment>) {
        let now = self.now;
        assert!(self.note(id).lives(), "told to stop and gone");
        assert!(self.note(id).orphaned.is_none(), "told without a keeper");
        assert!(self.killing().is_none(), "told after SIGKILL");
        let Some(stop) = &self.stop else {
            let note = &mut self.notes[id.0];
            assert!(note.late && note.told.is_none(), "stopped for nothing");
            assert_eq!(event, Event::Expired(Timer::ReadyTimeout(id)));
            note.told = Some(now);
            note.rest = rest;
            let limit = self.limit(id);
            assert_eq!(kill, limit.map(|limit| now.after(limit)), "its own time");
            let quarters = limit.map(|limit| now.after(limit / 4 * 3));
            assert_eq!(rest, quarters, "when the rest is told");
            return;
        };
        assert_eq!(kill, stop.deadline, "the end of the grace period");
        if self.note(id).told.is_none() {
            assert!(self.in_turns(), "stopped in the delay");
            self.check_turn(id);
            self.notes[id.0].in_turn = true;
        }
        if self.note(id).runs() {
            assert_eq!(rest, self.rest(id), "when the rest is told");
        }
        let note = &mut self.notes[id.0];
        note.told.get_or_insert(now);
        note.rest = [note.rest, rest].into_iter().flatten().min();
    }

    /// When the other processes of a service are told that is stopped now: at three quarters
    /// of the time to what comes first.
    fn rest(&self, id: Id) -> Option<Moment> {
        let waiting: Vec<Id> = self.below(id).filter(|lower| self.waits(*lower)).collect();
        let latest = waiting.iter().filter_map(|lower| self.latest(*lower));
        let period = self.period(id).filter(|_| !waiting.is_empty());
        let period_over = period.map(|period| self.now.after(period));
        let first = latest.chain(period_over).chain(self.deadline()).min()?;
        let left = first.0.saturating_sub(self.now.0);
        Some(self.now.after(left / 4 * 3))
    }

    /// A service is stopped: those above are gone, or passed by and told to stop.
    fn check_turn(&mut self, id: Id) {
        let now = self.now;
        let latest = self.latest(id);
        assert!(
            latest.is_none_or(|latest| now <= latest),
            "stopped too late"
        );
        let is_latest = latest == Some(now);
        for upper in self.above(id) {
            let waited_for = self.is_waited_for(upper, now);
            assert!(
                is_latest || !waited_for,
                "stopped before one above was gone"
            );
            let note = self.note(upper);
            if !note.lives() {
                continue;
            }
            let told = note.told.is_some();
            let rest = note.killed.is_some() || note.rest.is_some_and(|rest| rest <= now);
            assert!(told && rest, "something above was not told to stop");
            self.notes[upper.0].passed.get_or_insert(now);
        }
    }

    fn note_kill(&mut self, event: Event, id: Id) {
        let now = self.now;
        let note = self.note(id);
        assert!(note.lives(), "killed and gone");
        assert!(
            note.told.is_some() || self.no_grace() || self.cut_short,
            "killed without having been told to stop"
        );
        let killing = self.killing();
        let in_turn = note.told.filter(|_| note.in_turn || self.stop.is_some());
        let mut below = self.below(id);
        let keeps_others = below.any(|lower| self.waits(lower)) && note.passed.is_none();
        let period_over = event == Event::Expired(Timer::PeriodOver(id))
            && in_turn
                .zip(self.period(id))
                .is_some_and(|(told, period)| told.after(period) <= now)
            && keeps_others;
        let limit_over = |orphaned: Moment| {
            let limit = self.limit(id).map(|limit| orphaned.after(limit));
            [limit, self.deadline()].into_iter().flatten().min() <= Some(now)
        };
        let left_over = event == Event::Expired(Timer::LeftoversOver(id))
            && note.orphaned.is_some_and(limit_over);
        let again = event == Event::KeeperKilled(id) && note.killed.is_some();
        assert!(
            killing.is_some() || period_over || left_over || again,
            "killed before the grace period was over"
        );
        self.notes[id.0].killed.get_or_insert(now);
        if let Some(stop) = &mut self.stop {
            stop.sigkill = true;
        }
    }

    fn note_exit(&mut self, event: Event, status: Status) {
        let lives = self.notes.iter().any(Note::lives);
        let given_up = event == Event::Expired(Timer::GiveUp);
        assert!(!lives || given_up, "an exit before the services are gone");
        if let Some(deadline) = self.deadline() {
            assert!(self.now <= deadline.after(SECOND), "an exit too late");
        }
        let expected = match &self.stop {
            None => {
                let over = self.notes.iter().all(|note| note.life == Life::Over);
                assert!(over, "an exit while services wait");
                self.first_failed
            }
            Some(Stop {
                by: Some((code, id)),
                ..
            }) if *code != 0 => Some((*code, *id)),
            Some(stop) if stop.sigkill => {
                let by_none = Status {
                    code: 137,
                    of: None,
                };
                assert_eq!(status, by_none, "SIGKILL was needed");
                self.exited = true;
                return;
            }
            Some(stop) => stop.first_failed,
        };
        let expected = Status {
            code: expected.map_or(0, |(code, _)| code),
            of: expected.map(|(_, id)| Id(id)),
        };
        assert_eq!(status, expected, "the exit status");
        self.exited = true;
    }
}
