//! What users are told, and what must hold between two events.

use super::*;

impl World<'_> {
    /// What users are told.
    pub(super) fn check_notices(&mut self, event: Event, actions: &[Action]) {
        let requested = matches!(event, Event::StopRequest { .. }) && self.requests == 1;
        let mut announced = false;
        let mut given_up = None;
        for action in actions {
            let Action::Notice(notice) = action else {
                continue;
            };
            match *notice {
                Notice::Stopping(_) => announced = true,
                Notice::GivenUp { id, .. } => given_up = Some(id.0),
                Notice::EssentialEnded(id) => {
                    let by = self.stop.as_ref().and_then(|stop| stop.by);
                    assert_eq!(by.map(|by| by.1), Some(id.0), "stopped by another");
                }
                Notice::PassedBy { above, below } => {
                    let note = &mut self.notes[above.0];
                    assert!(note.lives() && note.passed.is_some(), "it is waited for");
                    assert!(!note.named, "a second warning");
                    note.named = true;
                    let above = self.above(below).any(|upper| upper == above);
                    assert!(above, "passed by for one that does not wait for it");
                }
                Notice::Delayed => assert!(!self.rules.delay.is_zero() && requested),
                Notice::CutShort => assert!(self.cut_short),
                _ => {}
            }
        }
        let killed = self.killing().is_some_and(|killing| killing < self.now);
        assert!(
            !announced || requested,
            "a stop was announced without a request"
        );
        assert!(announced || !requested || killed || self.exited || !self.was_quiet());
        assert_eq!(given_up, self.given_up, "given up");
    }

    /// The keepers have had their time: those that are left are killed.
    pub(super) fn check_keepers(&self, event: Event, actions: &[Action]) {
        for id in self.ids() {
            let note = self.note(id);
            let is_left = note.lives() && note.orphaned.is_none();
            assert_eq!(
                actions.contains(&Action::KillKeeper(id)),
                is_left && event == Event::Expired(Timer::KeepersOver),
                "a keeper is killed"
            );
        }
    }

    /// No stop went on when the first stop request came.
    fn was_quiet(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.by.is_none())
    }

    fn is_armed(&self, timer: Timer, at: Moment) -> bool {
        self.timers.get(&timer) == Some(&at)
    }

    /// No stop has begun: what can start does.
    pub(super) fn check_start(&self) {
        let mut goes_on = false;
        for id in self.ids() {
            let note = self.note(id);
            goes_on |= note.life != Life::Over;
            match note.life {
                Life::Waiting => assert!(!self.has_what_it_needs(id), "it can start"),
                Life::Probing { since } => {
                    let over = since.after(SECOND);
                    assert!(self.is_armed(Timer::ProbeOver(id), over), "a long probe");
                }
                Life::Pausing { until } => {
                    assert!(self.is_armed(Timer::PauseOver(id), until), "a long pause");
                }
                Life::Running { since } if note.failures > 0 && note.told.is_none() => {
                    let settled = since.after(SECOND * 30);
                    assert!(
                        self.is_armed(Timer::Settled(id), settled),
                        "it never settles"
                    );
                }
                _ => {}
            }
            let waits = self.waits(id) && !note.ready;
            if let Some(timeout) = self.settings(id).ready_timeout.filter(|_| waits) {
                let at = note.start.after(timeout);
                assert!(
                    self.is_armed(Timer::ReadyTimeout(id), at),
                    "no ready_timeout"
                );
            }
            if waits {
                let named = self.timers.contains_key(&Timer::StillNotReady(id));
                assert!(named, "no warning while it is not ready");
                let checked = matches!(self.settings(id).ready, Ready::Checked { .. });
                let is_running = matches!(note.life, Life::Running { .. });
                let again = self.is_armed(Timer::CheckAgain(id), self.now.after(HALF))
                    || self.timers.contains_key(&Timer::CheckAgain(id));
                assert!(
                    note.checking || again || !checked || !is_running,
                    "no check"
                );
            }
            assert!(
                !note.late || note.told.is_some() || !note.runs(),
                "late and not told"
            );
        }
        assert!(goes_on, "nothing goes on, and no exit");
    }

    /// A stop has begun: the end is in sight, and each service is stopped in its turn.
    pub(super) fn check_stop(&self) {
        let stop = self.stop.as_ref().unwrap();
        assert!(
            self.notes.iter().any(Note::lives),
            "nothing is left, and no exit"
        );
        assert!(
            !self.notes.iter().any(|note| note.checking),
            "a check at a stop"
        );
        if let Some(killing) = stop.killing {
            let keepers = self.is_armed(Timer::KeepersOver, killing.after(HALF));
            let give_up = self.timers.get(&Timer::GiveUp);
            let ends = give_up.is_some_and(|at| *at <= killing.after(SECOND));
            assert!(keepers || ends, "SIGKILL without an end in sight");
            let all = self
                .notes
                .iter()
                .all(|note| !note.lives() || note.killed.is_some());
            assert!(all, "not all are killed");
            return;
        }
        if let Some(deadline) = stop.deadline {
            assert!(self.is_armed(Timer::GraceOver, deadline), "no end in sight");
        }
        if self.timers.contains_key(&Timer::DelayOver) {
            assert!(self.is_armed(Timer::DelayOver, stop.begins), "a long delay");
            assert!(
                self.now < stop.begins || self.requests < 2,
                "a delay that goes on"
            );
            return;
        }
        assert!(stop.begins <= self.now, "no delay");
        for id in self.ids().filter(|id| self.waits(*id)) {
            let latest = self.latest(id);
            if let Some(latest) = latest {
                assert!(
                    self.is_armed(Timer::Latest(id), latest),
                    "its latest moment"
                );
            }
            let mut above = self.above(id);
            let is_held = above.any(|upper| self.is_waited_for(upper, self.now));
            assert!(is_held, "its turn has come");
        }
    }

    /// What holds for each service that is stopped.
    pub(super) fn check_service(&self, id: Id) {
        let note = self.note(id);
        if !note.lives() || self.killing().is_some() {
            return;
        }
        let deadline = self.deadline();
        if let (Some(orphaned), Some(limit)) = (note.orphaned, self.limit(id)) {
            let over = orphaned.after(limit);
            let over = deadline.map_or(over, |deadline| over.min(deadline));
            // A stop that begins later has its own end.
            let armed = self.timers.get(&Timer::LeftoversOver(id));
            let in_time =
                armed.is_some_and(|at| *at <= over) || deadline.is_some_and(|at| at <= over);
            assert!(in_time || note.killed.is_some(), "leftovers have no end");
        }
        let mut below = self.below(id);
        let holds_up = below.any(|lower| self.waits(lower)) && note.passed.is_none();
        if !holds_up || !note.in_turn {
            return;
        }
        if let Some(killed) = note.killed {
            let passed = killed.after(Duration::from_millis(300));
            assert!(
                self.is_armed(Timer::NotGone(id), passed),
                "waits for a killed one"
            );
        } else if let Some((told, period)) = note.told.zip(self.period(id)) {
            let over = told.after(period);
            assert!(self.is_armed(Timer::PeriodOver(id), over), "its period");
        }
    }
}
