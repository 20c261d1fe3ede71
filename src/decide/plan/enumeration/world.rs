//! What has happened to the services on one path, as an onlooker would note it down, and
//! the invariants.

use super::*;

mod actions;
mod between;

const HALF: Duration = Duration::from_millis(500);

/// Where a service is, by what the keepers and the plan have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Waiting,
    Probing {
        since: Moment,
    },
    Forked,
    Running {
        since: Moment,
    },
    /// The main process was reaped.
    Left,
    /// It is to start again, at this moment.
    Pausing {
        until: Moment,
    },
    Over,
}

/// The notes about one service. Those about a run begin anew with each start.
#[expect(clippy::struct_excessive_bools, reason = "notes, each of one fact")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Note {
    life: Life,
    ready: bool,
    checking: bool,
    /// Failed ends in a row.
    failures: u32,
    /// Its last end was to be followed by a start, after this pause.
    restart: Option<Duration>,
    /// When it started.
    start: Moment,
    late: bool,
    /// When it was told to stop, or its keeper stopped what it left.
    told: Option<Moment>,
    /// It was told in its turn.
    in_turn: bool,
    /// When its other processes are stopped.
    rest: Option<Moment>,
    /// When it was sent SIGKILL first.
    killed: Option<Moment>,
    /// When its keeper was killed.
    orphaned: Option<Moment>,
    /// From when on no other waits for it.
    passed: Option<Moment>,
    /// The warning about that was given.
    named: bool,
}

impl Note {
    const NEW: Self = Self {
        life: Life::Waiting,
        ready: false,
        checking: false,
        failures: 0,
        restart: None,
        start: Moment(Duration::ZERO),
        late: false,
        told: None,
        in_turn: false,
        rest: None,
        killed: None,
        orphaned: None,
        passed: None,
        named: false,
    };

    /// The same with other moments.
    fn with(&self, moment: impl Fn(Moment) -> Moment) -> Self {
        let life = match self.life {
            Life::Probing { since } => Life::Probing {
                since: moment(since),
            },
            Life::Running { since } => Life::Running {
                since: moment(since),
            },
            Life::Pausing { until } => Life::Pausing {
                until: moment(until),
            },
            life => life,
        };
        Self {
            life,
            start: moment(self.start),
            told: self.told.map(&moment),
            rest: self.rest.map(&moment),
            killed: self.killed.map(&moment),
            orphaned: self.orphaned.map(&moment),
            passed: self.passed.map(&moment),
            ..*self
        }
    }

    fn runs(&self) -> bool {
        matches!(self.life, Life::Forked | Life::Running { .. })
    }

    fn lives(&self) -> bool {
        self.runs() || self.life == Life::Left
    }
}

/// A stop of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stop {
    /// When the services are stopped: after the delay.
    begins: Moment,
    deadline: Option<Moment>,
    /// The service whose end stopped everything.
    by: Option<(u8, usize)>,
    first_failed: Option<(u8, usize)>,
    sigkill: bool,
    /// When everything was to be killed.
    killing: Option<Moment>,
}

impl Stop {
    /// The same with other moments.
    fn with(&self, moment: impl Fn(Moment) -> Moment) -> Self {
        Self {
            begins: moment(self.begins),
            deadline: self.deadline.map(&moment),
            killing: self.killing.map(&moment),
            ..*self
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct World<'a> {
    rules: &'a Rules,
    pub(super) now: Moment,
    timers: BTreeMap<Timer, Moment>,
    notes: Vec<Note>,
    stop: Option<Stop>,
    first_failed: Option<(u8, usize)>,
    requests: u8,
    keys: u8,
    cut_short: bool,
    /// The service that is given up by this event.
    given_up: Option<usize>,
    pub(super) exited: bool,
}

impl Hash for World<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (timer, at) in &self.timers {
            (timer, self.as_if_now(*at)).hash(state);
        }
        for note in &self.notes {
            note.with(|at| self.as_if_now(at)).hash(state);
        }
        let stop = self.stop.as_ref();
        stop.map(|stop| stop.with(|at| self.as_if_now(at)))
            .hash(state);
        self.first_failed.hash(state);
        (self.requests, self.keys, self.cut_short, self.exited).hash(state);
    }
}

impl<'a> World<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            now: Moment(Duration::ZERO),
            timers: BTreeMap::new(),
            notes: vec![Note::NEW; rules.graph.len()],
            stop: None,
            first_failed: None,
            requests: 0,
            keys: 0,
            cut_short: false,
            given_up: None,
            exited: false,
        }
    }

    /// The same moment in a world where it is always the same time: when what has happened
    /// makes no difference to what follows.
    pub(super) fn as_if_now(&self, at: Moment) -> Moment {
        const NOW: Moment = Moment(Duration::from_secs(1_000_000));
        NOW.after(at.0).before(self.now.0)
    }

    /// What can come next; a timer last.
    pub(super) fn possible(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.exited {
            return events;
        }
        for id in self.ids() {
            events.extend(self.possible_of(id));
        }
        if self.requests < 3 {
            events.push(stop_request(false));
            events.push(stop_request(true));
        }
        events.extend(self.next_timer().map(|(_, timer)| Event::Expired(timer)));
        events
    }

    fn possible_of(&self, id: Id) -> Vec<Event> {
        let note = self.note(id);
        let ended = |ending| Event::Ended { id, ending };
        let mut events = Vec::new();
        match note.life {
            Life::Waiting | Life::Pausing { .. } | Life::Over => {}
            Life::Probing { .. } => {
                events.extend([true, false].map(|answers| Event::Probed { id, answers }));
            }
            Life::Forked => {
                events.push(Event::Executed(id));
                if note.start == self.now && note.orphaned.is_none() {
                    events.push(Event::StartFailed(id));
                }
                events.push(ended(Ending::NotExecuted(127)));
            }
            Life::Running { .. } => {
                events.extend([Ending::Exited(0), Ending::Exited(3)].map(ended));
                events.push(ended(Ending::Killed(Signal::TERM, false)));
                if note.checking || self.settings(id).ready == Ready::Notified {
                    events.push(Event::Ready(id));
                }
                if note.checking {
                    events.push(Event::CheckEnded(id));
                }
            }
            Life::Left => {
                let killed = note.killed.is_some();
                events.push(Event::Gone { id, killed });
            }
        }
        if note.lives() && note.orphaned.is_none() {
            events.push(Event::KeeperKilled(id));
        }
        events
    }

    /// An event that leads to services that are ready.
    pub(super) fn way_up(&self) -> Option<Event> {
        let next = |id: Id| {
            let note = self.note(id);
            let settings = self.settings(id);
            match note.life {
                Life::Probing { .. } => Some(Event::Probed { id, answers: false }),
                Life::Forked => Some(Event::Executed(id)),
                Life::Running { .. } if note.ready => None,
                Life::Running { .. } if settings.ready == Ready::Exited => Some(Event::Ended {
                    id,
                    ending: Ending::Exited(0),
                }),
                Life::Running { .. } => Some(Event::Ready(id)),
                Life::Left => Some(Event::Gone { id, killed: false }),
                _ => None,
            }
        };
        self.ids().find_map(next).filter(|_| !self.exited)
    }

    /// An event that leads to services that were ready, and have started again.
    pub(super) fn way_to_restarts(&self) -> Option<Event> {
        let next = |id: Id| {
            let note = self.note(id);
            let settings = self.settings(id);
            let restarts = settings.restart != Restart::No && settings.ready != Ready::Exited;
            match note.life {
                Life::Running { .. } if restarts && note.failures == 0 => Some(Event::Ended {
                    id,
                    ending: Ending::Killed(Signal::TERM, false),
                }),
                Life::Left => Some(Event::Gone { id, killed: false }),
                Life::Pausing { .. } => self.next_timer().map(|(_, timer)| Event::Expired(timer)),
                _ => None,
            }
        };
        self.ids().find_map(next).filter(|_| !self.exited)
    }

    /// Time passes to the moment of a timer.
    pub(super) fn pass_time(&mut self, event: Event) {
        if let Event::Expired(timer) = event {
            let next = self.next_timer();
            assert_eq!(next.map(|next| next.1), Some(timer), "the next timer");
            self.now = self.now.max(self.timers[&timer]);
        }
    }

    fn next_timer(&self) -> Option<(Moment, Timer)> {
        self.timers.iter().map(|(timer, at)| (*at, *timer)).min()
    }

    fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.notes.len()).map(Id)
    }

    fn note(&self, id: Id) -> &Note {
        &self.notes[id.0]
    }

    fn settings(&self, id: Id) -> &'a Settings {
        &self.rules.services[id.0]
    }

    fn above(&self, id: Id) -> impl Iterator<Item = Id> + use<'a> {
        self.rules.graph.above(id).iter().copied()
    }

    fn below(&self, id: Id) -> impl Iterator<Item = Id> + use<'a> {
        self.rules.graph.below(id).iter().copied()
    }

    fn grace(&self) -> Option<Duration> {
        match self.rules.grace {
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        }
    }

    fn no_grace(&self) -> bool {
        self.grace() == Some(Duration::ZERO)
    }

    fn period(&self, id: Id) -> Option<Duration> {
        self.rules.budget().of(id).period
    }

    /// How long a stop of one service takes at most.
    fn limit(&self, id: Id) -> Option<Duration> {
        self.period(id).or(self.grace())
    }

    fn deadline(&self) -> Option<Moment> {
        self.stop.as_ref().and_then(|stop| stop.deadline)
    }

    fn killing(&self) -> Option<Moment> {
        self.stop.as_ref().and_then(|stop| stop.killing)
    }

    /// The services are being stopped: the delay is over.
    fn in_turns(&self) -> bool {
        let turns = |stop: &Stop| stop.begins <= self.now && stop.killing.is_none();
        self.stop.as_ref().is_some_and(turns) && !self.timers.contains_key(&Timer::DelayOver)
    }

    fn latest(&self, id: Id) -> Option<Moment> {
        let latest = self.rules.budget().of(id).latest;
        self.deadline().map(|deadline| deadline.before(latest))
    }

    /// It runs, and was not told to stop.
    fn waits(&self, id: Id) -> bool {
        let note = self.note(id);
        note.runs() && note.told.is_none()
    }

    /// Holds the actions of one event against the invariants.
    pub(super) fn observe(&mut self, event: Event, actions: &[Action]) {
        let checking: Vec<Id> = self.ids().filter(|id| self.note(*id).checking).collect();
        self.given_up = None;
        self.note_event(event);
        for action in actions {
            assert!(!self.exited, "an action after the end");
            self.note_action(event, *action);
        }
        self.check_notices(event, actions);
        self.check_keepers(event, actions);
        for id in checking {
            let ended = actions.contains(&Action::EndCheck(id));
            let note = self.note(id);
            let is_probing = matches!(note.life, Life::Probing { .. });
            let goes_on = note.runs() || is_probing;
            let is_over = self.stop.is_some() || note.told.is_some() || !goes_on;
            let answered = matches!(event, Event::Ready(of) | Event::CheckEnded(of) | Event::Probed { id: of, .. } if of == id);
            let probe_over = event == Event::Expired(Timer::ProbeOver(id));
            assert_eq!(
                ended,
                !answered && (is_over || probe_over),
                "a check is over"
            );
        }
        if self.exited {
            return;
        }
        match self.stop {
            None => self.check_start(),
            Some(_) => self.check_stop(),
        }
        for id in self.ids() {
            self.check_service(id);
        }
    }

    fn note_event(&mut self, event: Event) {
        match event {
            Event::Begin | Event::Probed { .. } => {}
            Event::Executed(id) => {
                let since = self.now;
                let stopping = self.stop.is_some();
                let ready = self.settings(id).ready == Ready::Started;
                let note = &mut self.notes[id.0];
                note.life = Life::Running { since };
                note.ready |= ready && !stopping && note.told.is_none();
            }
            Event::Ready(id) => {
                let stopping = self.stop.is_some();
                let note = &mut self.notes[id.0];
                note.ready |= !stopping && note.told.is_none();
                note.checking = false;
            }
            Event::CheckEnded(id) => self.notes[id.0].checking = false,
            Event::StartFailed(id) => {
                self.note_end(id, 125, None);
                self.note_gone(id, false);
            }
            Event::Ended { id, ending } => self.note_end(id, ending.code(), Some(ending)),
            Event::Gone { id, killed } => self.note_gone(id, killed),
            Event::KeeperKilled(id) => {
                self.notes[id.0].orphaned = Some(self.now);
                if self.note(id).runs() {
                    self.note_end(id, 137, None);
                }
            }
            Event::StopRequest { typed, .. } => self.note_request(typed),
            Event::Expired(timer) => {
                let at = self.timers.remove(&timer);
                assert_eq!(at, Some(self.now), "a timer that is armed");
                self.note_timer(timer);
            }
        }
    }

    fn note_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Settled(id) => self.notes[id.0].failures = 0,
            Timer::ReadyTimeout(id) => self.notes[id.0].late = true,
            Timer::GraceOver => self.note_killing(),
            Timer::NotGone(id) => {
                let killed = self.note(id).killed.expect("a service that was killed");
                assert_eq!(self.now, killed.after(Duration::from_millis(300)));
                self.notes[id.0].passed.get_or_insert(self.now);
            }
            _ => {}
        }
    }

    fn note_killing(&mut self) {
        let now = self.now;
        if let Some(stop) = &mut self.stop {
            stop.killing.get_or_insert(now);
            stop.sigkill |= self.notes.iter().any(Note::lives);
        }
    }

    fn note_request(&mut self, typed: bool) {
        self.requests += 1;
        self.keys += u8::from(typed);
        let now = self.now;
        let delaying = self.timers.contains_key(&Timer::DelayOver);
        let can_cut = typed && self.keys > 1 && self.grace().is_some() && !delaying;
        let delay = self.rules.delay;
        match &mut self.stop {
            None => self.note_stop(delay, None),
            Some(stop) if stop.killing.is_some() => {}
            Some(_) if can_cut => {
                self.cut_short = true;
                self.note_killing();
            }
            Some(stop) => stop.begins = stop.begins.min(now),
        }
    }

    fn note_stop(&mut self, delay: Duration, by: Option<(u8, usize)>) {
        self.stop = Some(Stop {
            begins: self.now.after(delay),
            deadline: self.grace().map(|grace| self.now.after(grace)),
            by,
            first_failed: None,
            sigkill: false,
            killing: None,
        });
        for note in &mut self.notes {
            note.restart = None;
            if !note.lives() {
                note.life = Life::Over;
            }
        }
        if self.no_grace() {
            self.note_killing();
        }
    }

    /// The main process was reaped. `ending`: what of, if it is known.
    fn note_end(&mut self, id: Id, code: u8, ending: Option<Ending>) {
        let now = self.now;
        let settings = self.settings(id);
        let stopping = self.stop.is_some();
        let note = &mut self.notes[id.0];
        let code = if note.late { 124 } else { code };
        let by_signal = matches!(ending, Some(Ending::Killed(..))) && !note.late;
        let of_its_own = ending.is_some_and(|ending| !matches!(ending, Ending::NotExecuted(_)));
        let stop_signal = code == 128 + u8::try_from(settings.stop_signal.number()).unwrap();
        let excused = stopping && of_its_own && stop_signal;
        let listed = settings.success.contains(&code) && of_its_own && !note.late;
        let failed = code != 0 && !listed && !excused;
        note.life = Life::Left;
        note.told.get_or_insert(now);
        note.rest = Some(now);
        if stopping {
            let stop = self.stop.as_mut().unwrap();
            if failed {
                stop.first_failed.get_or_insert((code, id.0));
            }
            return;
        }
        note.failures = if failed { note.failures + 1 } else { 0 };
        let one_shot = settings.ready == Ready::Exited;
        note.ready |= one_shot && !failed;
        let wanted = match settings.restart {
            Restart::No => false,
            Restart::OnFailure => failed || by_signal && !one_shot,
            Restart::Always => failed || !one_shot,
        };
        let too_often = settings
            .restart_limit
            .is_some_and(|limit| note.failures > limit);
        if wanted && !(failed && too_often) {
            let doublings = note.failures.saturating_sub(1).min(6);
            let pause = HALF * 2_u32.pow(doublings);
            note.restart = Some(pause.min(SECOND * 30));
            return;
        }
        self.given_up = wanted.then_some(id.0);
        if failed {
            self.first_failed.get_or_insert((code, id.0));
        }
        if settings.essential && (failed || !one_shot) {
            let code = if failed { code } else { 0 };
            self.note_stop(Duration::ZERO, Some((code, id.0)));
        }
    }

    fn note_gone(&mut self, id: Id, killed: bool) {
        if let Some(stop) = &mut self.stop {
            stop.sigkill |= killed;
        }
        let now = self.now;
        let note = &mut self.notes[id.0];
        let life = match note.restart {
            Some(pause) => Life::Pausing {
                until: now.after(pause),
            },
            None => Life::Over,
        };
        *note = Note {
            life,
            ready: note.ready,
            failures: note.failures,
            ..Note::NEW
        };
    }
}
