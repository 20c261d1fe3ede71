//! The test of the lifecycle: every sequence of events up to a length, under every set of
//! rules that makes a difference, against the invariants in `docs/design.md`. The events
//! are those that the contract of the lifecycle allows: [`World`] knows what can come next.
//!
//! Where two sequences lead to the same lifecycle and the same notes about it,
//! what follows is walked once and counted for both.

use super::stop::{FIRST_KILL_AGAIN, FIRST_LOOK_AGAIN};
use super::*;
use crate::decide::origin::{Facts, Sender};
use crate::decide::step::{Scope, Timer};
use crate::decide::walk::{Course, Walked, every_sequence};
use crate::signal::SignalSet;

/// The longest course without repetition has eight events: stop, signal the
/// rest, command ended, some left, grace over, kill again, some left, give up.
/// This leaves room for others in between.
const DEPTH: usize = 11;

const GRACE: Duration = Duration::from_secs(8);

/// Endings, all different from the one that `GiveUp` makes up.
const ENDINGS: [Ending; 3] = [
    Ending::Exited(3),
    Ending::Killed(Signal::TERM, false),
    Ending::NotExecuted(127),
];

/// The pid of a process that takes the command's place.
const SUCCESSOR: i32 = 77;

/// Signals with their senders, and the names of the facts that hold of them.
///
/// TERM is forwarded as USR2, HUP is a stop request that is swallowed, INT is one
/// that is not rewritten.
const SIGNALS: [(Signal, Sender, &str); 10] = [
    (Signal::TERM, Sender::Other, ""),
    (Signal::HUP, Sender::Other, ""),
    // Ctrl-C with stdin elsewhere and on the terminal, and where the command has
    // left the group.
    (Signal::INT, Sender::Kernel, "shares_group"),
    (Signal::INT, Sender::Kernel, "shares_group handled"),
    (Signal::INT, Sender::Kernel, "stdin_is_terminal"),
    (Signal::INT, Sender::Kernel, ""),
    (Signal::INT, Sender::Other, "ignored_at_start"),
    (
        Signal::TSTP,
        Sender::Kernel,
        "shares_group stdin_is_terminal",
    ),
    (Signal::CONT, Sender::Other, "shares_group"),
    (Signal::CONT, Sender::SessionLeader, "shares_group resumed"),
];

/// Whether the sender sent the signal to our process group. The value that the
/// signal carries keeps whether the command has received it, which the lifecycle
/// does not look at.
fn is_sent_to_group(sender: Sender) -> bool {
    sender != Sender::Other
}

fn truly_received(received: Received) -> bool {
    received.value == 1
}

/// The command was suspended by Ctrl-Z, by another process, and because it wants the
/// terminal, with and without that being ours to give.
fn stops() -> [Event; 4] {
    [
        (Signal::TSTP, false),
        (Signal::STOP, false),
        (Signal::TTIN, false),
        (Signal::TTIN, true),
    ]
    .map(|(signal, can_take_terminal)| Event::CommandStopped {
        signal,
        can_take_terminal,
    })
}

const DELAY: Duration = Duration::from_secs(4);

/// The signal that a service is stopped by.
const STOP_SIGNAL: Signal = Signal::QUIT;

/// What a keeper may be told: more and less time than the grace period, the other processes
/// in time, too late and never, nothing but now, and no end.
fn orders() -> [Event; 6] {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    [
        (seconds(10), None),
        (seconds(3), seconds(1)),
        (seconds(2), seconds(5)),
        (seconds(0), None),
        (None, seconds(1)),
        (None, None),
    ]
    .map(|(kill_in, rest_in)| Event::StopBy {
        signal: STOP_SIGNAL,
        kill_in,
        rest_in,
    })
}

fn rules(grace: Grace, leftovers: LeftoverPolicy, pid1: bool, job_control: bool) -> Rules {
    let mut stop_on = SignalSet::EMPTY;
    stop_on.insert(Signal::TERM);
    stop_on.insert(Signal::HUP);
    stop_on.insert(Signal::INT);
    Rules {
        stop_on,
        rewrite: vec![(Signal::TERM, Some(Signal::USR2)), (Signal::HUP, None)],
        grace,
        delay: Duration::ZERO,
        leftovers,
        pid1,
        job_control,
    }
}

/// The rules of the keeper of a service: the only stop request is that its parent has died.
fn rules_of_keeper(grace: Grace) -> Rules {
    let mut stop_on = SignalSet::EMPTY;
    stop_on.insert(Signal::TERM);
    Rules {
        stop_on,
        ..rules(grace, LeftoverPolicy::Stop, false, false)
    }
}

/// What has happened on one path, as an onlooker would note it down.
#[expect(clippy::struct_excessive_bools, reason = "notes, each of one fact")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    rules: Rules,
    /// In how long each timer expires. Time passes when one does. All times are counted
    /// from now, so that what has happened when makes no difference.
    armed: Vec<(Duration, Timer)>,
    /// In how long SIGKILL is due at the latest: by the grace period, once it has begun,
    /// and by what a keeper was told.
    due: Option<Duration>,
    /// In how long a keeper is to signal the rest, if that has not happened.
    rest_due: Option<Duration>,
    /// A keeper was told to stop.
    told: bool,
    /// It was told to kill at once.
    told_to_kill: bool,
    /// There is no time for a stop: without a grace period, or as it was told.
    no_time: bool,
    command_alive: bool,
    suspended: bool,
    /// How often it was suspended after it received a stop request.
    stops: u8,
    command_ending: Option<Ending>,
    /// We were to stop ourselves, and whether that worked is not known yet.
    suspending: Option<Signal>,
    /// The terminal was to be handed over, and the same.
    giving_foreground: Option<Signal>,
    stop_requested: bool,
    /// The command has received a stop request, from us or from the sender itself.
    command_signaled: bool,
    /// A stop request was received and not forwarded, as it is to be.
    held: Option<Signal>,
    delay_over: bool,
    /// A stop delay has begun, and neither its time nor a second request has ended it.
    delaying: bool,
    /// The command has exited, and every child that has is reaped.
    settled: bool,
    /// A second Ctrl-C has ended the grace period.
    cut_short: bool,
    rest_signaled_while_alive: u32,
    rest_signaled_after: u32,
    /// Whether the rest was to be signaled, and whether all of it could be read is not
    /// known yet.
    looking: bool,
    /// Some of the rest could not be read when it was to be signaled last.
    some_unread: bool,
    /// Some could not be read before. The second time differs from the first in nothing but
    /// the time to the next look, and is left out here.
    looks_again: bool,
    grace_armed: u32,
    killed: bool,
    exited: bool,
}

impl World {
    fn new(rules: Rules) -> Self {
        Self {
            no_time: rules.grace == Grace::For(Duration::ZERO),
            rules,
            armed: Vec::new(),
            due: None,
            rest_due: None,
            told: false,
            told_to_kill: false,
            command_alive: true,
            suspended: false,
            stops: 0,
            command_ending: None,
            suspending: None,
            giving_foreground: None,
            stop_requested: false,
            command_signaled: false,
            held: None,
            delay_over: false,
            delaying: false,
            settled: false,
            cut_short: false,
            rest_signaled_while_alive: 0,
            rest_signaled_after: 0,
            looking: false,
            some_unread: false,
            looks_again: false,
            grace_armed: 0,
            killed: false,
            exited: false,
        }
    }

    fn possible(&self) -> Vec<Event> {
        if self.exited {
            return Vec::new();
        }
        let mut events = self.signals();
        if self.is_keeper() {
            events.extend(orders());
        } else {
            events.push(Event::Rehearse(Signal::TERM));
        }
        events.extend(self.suspending.map(Event::NotSuspended));
        events.extend(self.giving_foreground.map(Event::ForegroundRefused));
        events.push(Event::SomeLeft);
        if self.command_alive {
            events.push(Event::CommandContinued);
            events.extend(stops());
            events.extend(ENDINGS.map(Event::CommandEnded));
            events.push(Event::CommandHandedOn {
                ending: ENDINGS[0],
                to: SUCCESSOR,
            });
        } else {
            events.push(Event::NothingLeft);
            let may_leave = self.rules.leftovers == LeftoverPolicy::Auto && !self.rules.pid1;
            if may_leave && !self.stop_requested {
                events.push(Event::InitExitsWithUs);
            }
        }
        // Job control has no part in it.
        if self.looking && !self.looks_again && !self.rules.job_control {
            events.push(Event::SomeUnread);
        }
        // Timers expire in the order of their times, except for LookAgain: it can expire
        // before and after each of the others.
        let (look_again, others): (Vec<_>, Vec<_>) = self
            .armed
            .iter()
            .partition(|(_, timer)| *timer == Timer::LookAgain);
        let next = others.into_iter().min().into_iter().chain(look_again);
        events.extend(next.map(|(_, timer)| Event::Expired(timer)));
        events
    }

    fn is_keeper(&self) -> bool {
        !self.rules.stop_on.contains(Signal::INT)
    }

    fn expires(&self, timer: Timer) -> Option<Duration> {
        let mut armed = self.armed.iter();
        armed.find(|(_, armed)| *armed == timer).map(|(at, _)| *at)
    }

    fn arm(&mut self, timer: Timer, after: Duration) {
        self.armed.retain(|(_, armed)| *armed != timer);
        let at = match timer {
            Timer::LookAgain => Duration::ZERO,
            _ => after,
        };
        self.armed.push((at, timer));
        self.armed.sort_unstable();
    }

    fn grace(&self) -> Option<Duration> {
        match self.rules.grace {
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        }
    }

    /// SIGKILL is due in so long, if not sooner.
    fn kill_in(&mut self, after: Option<Duration>) {
        self.due = self.due.into_iter().chain(after).min();
    }

    /// Time passes to the moment of a timer.
    fn pass_time(&mut self, timer: Timer) {
        let passed = self.expires(timer).unwrap_or_default();
        self.armed.retain(|(_, armed)| *armed != timer);
        let armed = self.armed.iter_mut().map(|(left, _)| left);
        let due = self.due.iter_mut().chain(&mut self.rest_due);
        for left in armed.chain(due) {
            *left = left.saturating_sub(passed);
        }
    }

    /// The signals that may come, with what is true of them now.
    fn signals(&self) -> Vec<Event> {
        let to_event = |(signal, sender, names): (Signal, Sender, &str)| {
            let holds = |name| names.split(' ').any(|held| held == name);
            let facts = Facts {
                sender,
                shares_group: holds("shares_group") && self.command_alive,
                hung_up: false,
                leads_session: false,
                stdin_is_terminal: holds("stdin_is_terminal"),
                handled: holds("handled"),
                command_suspended: self.suspended && self.command_alive,
                resumed: holds("resumed"),
                ignored_at_start: holds("ignored_at_start"),
            };
            // A shell that resumes a job reaches the command last, if at all.
            let is_late = signal == Signal::CONT && facts.command_suspended;
            let received = is_sent_to_group(sender) && facts.shares_group && !is_late;
            let received = Received {
                signal,
                code: 0,
                pid: 1,
                uid: 0,
                value: u64::from(received),
            };
            Event::Signal(received, Origin::of(signal, facts))
        };
        // A keeper has no terminal, and a process group of its own.
        let comes = |(_, sender, _): &_| !self.is_keeper() || *sender == Sender::Other;
        SIGNALS.into_iter().filter(comes).map(to_event).collect()
    }

    /// The signal that an event stands for; a rehearsal after a stop request is none.
    fn as_signal(&self, event: Event) -> Option<(Received, Origin)> {
        match event {
            Event::Signal(received, origin) => Some((received, origin)),
            Event::Rehearse(signal) if !self.stop_requested => {
                Some((Received::plain(signal), Origin::for_us(false)))
            }
            _ => None,
        }
    }

    /// Whether a signal is a stop request now.
    fn is_stop(&self, received: Received, origin: Origin) -> bool {
        let may_stop = origin.may_request_stop || origin.typed && !self.command_alive;
        let rewritten = received.signal != Signal::HUP;
        rewritten && self.rules.stop_on.contains(received.signal) && may_stop
    }

    /// Holds the actions of one event against the invariants.
    fn observe(&mut self, event: Event, actions: &[Action]) {
        self.note(event);
        self.check_order(event, actions);
        self.check_delay(event, actions);
        self.check_answer(event, actions);
        self.check_forwards(event, actions);
        let stops = self.stop_requested || self.killed;
        let handed_on = matches!(event, Event::CommandHandedOn { .. }) && !stops;
        assert_eq!(
            actions.contains(&Action::TakeOn(SUCCESSOR)),
            handed_on,
            "another command, or none"
        );
        for action in actions {
            assert!(!self.exited, "an action after the end");
            self.check(event, action);
        }
        self.check_end_in_sight(event);
        let requested_now = actions
            .iter()
            .any(|action| matches!(action, Action::Notice(Notice::Stopping(_))));
        let suspended_now = matches!(event, Event::CommandStopped { .. }) && self.stop_requested;
        if suspended_now {
            self.stops = self.stops.saturating_add(1);
        }
        let can_go_on = suspended_now && self.stops <= RESUMES;
        let held = self.held.is_some() && !self.command_signaled;
        assert!(
            !(held && self.delay_over && self.command_alive),
            "the delay is over and the command was not signaled"
        );
        if (requested_now && !held && self.suspended || can_go_on)
            && self.command_alive
            && !self.killed
        {
            assert!(
                actions.contains(&Action::Resume),
                "sent a stop request and left suspended"
            );
        }
    }

    fn no_grace(&self) -> bool {
        self.rules.grace == Grace::For(Duration::ZERO)
    }

    fn stage(&self) -> Stage {
        match self.rest_signaled_while_alive + self.rest_signaled_after {
            _ if self.no_time => Stage::NoGrace,
            0 => Stage::Command,
            _ => Stage::Others,
        }
    }

    fn note(&mut self, event: Event) {
        // The answer comes at once or not at all.
        self.some_unread |= event == Event::SomeUnread;
        self.looks_again |= self.some_unread;
        self.looking = false;
        self.suspending = None;
        self.giving_foreground = None;
        self.settled |= event == Event::SomeLeft && !self.command_alive;
        match event {
            Event::CommandEnded(ending) => {
                self.command_alive = false;
                self.command_ending = Some(ending);
            }
            Event::CommandHandedOn { ending, .. } => {
                self.suspended = false;
                // Without a stop request the new one is the command.
                if self.stop_requested || self.killed {
                    self.command_alive = false;
                    self.command_ending = Some(ending);
                }
            }
            Event::CommandStopped { .. } => self.suspended = true,
            Event::CommandContinued => self.suspended = false,
            Event::Expired(timer) => {
                self.pass_time(timer);
                self.delay_over |= timer == Timer::DelayOver;
            }
            Event::Signal(received, origin) => {
                let stop = self.is_stop(received, origin);
                self.command_signaled |= stop && truly_received(received);
            }
            Event::InitExitsWithUs => self.rules.pid1 = true,
            Event::StopBy {
                kill_in, rest_in, ..
            } => self.note_order(kill_in, rest_in),
            // A rehearsal's signal is for us alone.
            Event::Rehearse(_)
            | Event::NotSuspended(_)
            | Event::ForegroundRefused(_)
            | Event::SomeUnread
            | Event::SomeLeft
            | Event::NothingLeft => {}
        }
    }

    fn note_order(&mut self, kill_in: Option<Duration>, rest_in: Option<Duration>) {
        if self.killed {
            return;
        }
        self.told = true;
        let at_once = kill_in == Some(Duration::ZERO);
        self.told_to_kill |= at_once;
        let signaled = self.rest_signaled_while_alive + self.rest_signaled_after > 0;
        if !self.stop_requested && !signaled {
            self.no_time = at_once || self.no_grace() && !self.command_alive;
        }
        self.kill_in(kill_in);
        // Before SIGKILL, with a quarter of the time.
        let rest_in = match (kill_in, rest_in) {
            (Some(kill), Some(rest)) if rest < kill => Some(rest),
            (Some(kill), _) => Some(kill / 4 * 3),
            (None, rest) => rest,
        };
        self.rest_due = self.rest_due.into_iter().chain(rest_in).min();
    }

    /// A keeper that is told to stop begins to, by the signal that it was told, or if the
    /// command has exited with the leftover processes. If it does so already, nothing is
    /// signaled, unless SIGKILL is due.
    fn check_order(&self, event: Event, actions: &[Action]) {
        let Event::StopBy { kill_in, .. } = event else {
            return;
        };
        if self.killed {
            assert_eq!(actions, [], "told after SIGKILL");
            return;
        }
        let kills = actions.contains(&Action::Kill(Scope::Everything));
        let swept = self.rest_signaled_after > 0 || actions.contains(&Action::TerminateRest);
        if !self.command_alive && !self.stop_requested {
            assert!(swept || kills, "told to stop, and nothing is stopped");
        }
        let begins = actions.contains(&Action::Notice(Notice::Stopping(Request::Main(
            STOP_SIGNAL,
        ))));
        let at_once = kill_in == Some(Duration::ZERO);
        let can_begin = self.command_alive && !self.stop_requested && !at_once;
        assert_eq!(begins, can_begin, "a stop begins");
    }

    /// The leftovers of a command that has exited are not signaled during the delay, and
    /// then they are: they may be the service.
    fn check_delay(&mut self, event: Event, actions: &[Action]) {
        let signals_rest = actions.contains(&Action::TerminateRest);
        let requests_again = self
            .as_signal(event)
            .is_some_and(|(received, origin)| self.is_stop(received, origin));
        if self.delaying {
            if event == Event::Expired(Timer::DelayOver) || requests_again {
                self.delaying = false;
                let spared = self.rules.leftovers == LeftoverPolicy::Leave;
                assert!(
                    signals_rest || self.command_alive || spared,
                    "the delay is over and the leftovers were not signaled"
                );
            } else {
                assert!(!signals_rest, "signaled during the delay");
            }
        }
        let delayed = actions.contains(&Action::Notice(Notice::Delayed));
        let requested = actions
            .iter()
            .any(|a| matches!(a, Action::Notice(Notice::Stopping(_))));
        // What was signaled because the command exited has nothing left to wait for.
        let signaled = self.rest_signaled_after > 0;
        let can_wait = !self.rules.delay.is_zero() && !self.command_alive && !signaled;
        assert!(delayed || !(requested && can_wait), "not delayed");
        self.delaying |= delayed;
    }

    /// A signal is answered at once: a stop request starts a stop, SIGCONT resumes,
    /// and when the command has exited a key acts on the leftover processes.
    fn check_answer(&self, event: Event, actions: &[Action]) {
        let Some((received, origin)) = self.as_signal(event) else {
            return;
        };
        let begins = actions
            .iter()
            .any(|a| matches!(a, Action::Notice(Notice::Stopping(_))));
        let is_stop = self.is_stop(received, origin);
        if self.command_alive {
            let can_begin = !self.stop_requested && !self.killed;
            assert_eq!(begins, is_stop && can_begin, "a stop begins");
            return;
        }
        let sweeping = self.rest_signaled_after > 0;
        let leave = self.rules.leftovers == LeftoverPolicy::Leave && !self.stop_requested;
        let can_begin = !self.stop_requested && !leave && !self.killed;
        let expected = is_stop && can_begin && (!sweeping || origin.typed);
        assert_eq!(begins, expected, "a stop begins after the command's exit");
        if begins && !sweeping && self.settled && self.rules.delay.is_zero() && !self.no_grace() {
            assert!(
                actions.contains(&Action::TerminateRest),
                "nothing else would signal them"
            );
        }
        let second = is_stop && origin.typed && self.stop_requested && sweeping;
        let cuts_short = actions
            .iter()
            .any(|a| matches!(a, Action::Notice(Notice::CutShort(_))));
        let expected = second && !self.killed && !self.no_end();
        assert_eq!(cuts_short, expected, "a second Ctrl-C kills");
        let suspends = received.signal == Signal::TSTP
            && origin.typed
            && self.rules.job_control
            && !(self.killed || leave);
        let suspend = Action::Suspend(Signal::TSTP);
        assert_eq!(actions.contains(&suspend), suspends, "Ctrl-Z suspends");
    }

    /// Each signal that the command has not received leads to one forward, and
    /// others to none. A stop request may be held for a while, and another lets it
    /// go.
    fn check_forwards(&mut self, event: Event, actions: &[Action]) {
        let forwards: Vec<Signal> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Forward { received, .. } => Some(received.signal),
                _ => None,
            })
            .collect();
        let (to_forward, stop) = if let Some((received, origin)) = self.as_signal(event) {
            let rewritten = match received.signal {
                Signal::TERM => Some(Signal::USR2),
                Signal::HUP => None,
                signal => Some(signal),
            };
            let stop = self.is_stop(received, origin);
            // What was told to stop is not told again by the death of our parent.
            let is_done = truly_received(received) || stop && self.told;
            (rewritten.filter(|_| !is_done), stop)
        } else {
            let told = matches!(event, Event::StopBy { .. });
            let stop = told && !self.stop_requested && !self.told_to_kill;
            (stop.then_some(STOP_SIGNAL), stop)
        };
        if actions.contains(&Action::Notice(Notice::Delayed)) {
            assert!(!self.rules.delay.is_zero(), "delayed without --stop-delay");
            assert!(!self.stop_requested, "only the first stop request is held");
            assert_eq!(forwards, [], "held and forwarded");
            let holds = to_forward.is_some() || !self.command_alive;
            assert!(stop && holds, "nothing to hold");
            self.held = to_forward.filter(|_| self.command_alive);
            return;
        }
        if !self.command_alive {
            assert_eq!(forwards, [], "forwarded to a reaped pid");
            return;
        }
        let mut expected: Vec<Signal> = to_forward.into_iter().collect();
        if let Some(held) = self.held
            && (stop || event == Event::Expired(Timer::DelayOver))
        {
            self.held = None;
            // Two that are equal become one.
            expected.retain(|second| *second != held);
            expected.insert(0, held);
        }
        if !(self.killed || self.no_time) || !forwards.is_empty() {
            assert_eq!(
                forwards, expected,
                "lost, forwarded twice, or not rewritten"
            );
        }
    }

    fn check(&mut self, event: Event, action: &Action) {
        let unsaid = self.no_time || self.told_to_kill;
        match action {
            Action::Notice(Notice::Stopping(request)) => self.check_request(event, *request),
            Action::Notice(Notice::Waiting) => {
                assert_eq!(event, Event::Expired(Timer::StillWaiting));
                assert!(!self.killed, "told after SIGKILL");
            }
            Action::Forward { stop, .. } => {
                assert!(self.command_alive, "a reaped pid was signaled");
                self.command_signaled |= stop;
            }
            Action::CommandReceived(signal) => {
                let had = matches!(event, Event::Signal(received, _)
                    if received.signal == *signal && truly_received(received));
                assert!(had && self.command_alive, "recorded and not received");
            }
            // Looked at with the event as a whole.
            Action::TakeOn(_) | Action::Notice(Notice::Delayed) => {}
            Action::Resume => assert!(self.command_alive, "a reaped pid was resumed"),
            Action::GiveForeground(_) | Action::Suspend(_) | Action::Notice(Notice::Stuck(_)) => {
                self.check_job_control(event, action);
            }
            Action::TerminateRest => self.check_rest(),
            Action::Notice(Notice::GraceOver) => {
                assert!(!self.killed, "told before it is done");
                assert!(!self.told || self.no_grace(), "another moment was told");
            }
            Action::Notice(Notice::Due) => assert!(self.told && !self.killed, "no moment was told"),
            Action::Notice(Notice::CutShort(signal)) => self.check_cut_short(event, *signal),
            Action::Kill(scope) => {
                let is_due = self.due == Some(Duration::ZERO);
                // Leftover processes without a grace period.
                let at_once = self.no_grace() && !self.command_alive;
                assert!(
                    is_due || self.cut_short || at_once,
                    "SIGKILL before the deadline"
                );
                if self.command_alive && !unsaid {
                    assert!(
                        self.command_signaled,
                        "the command was killed without a stop request"
                    );
                }
                match scope {
                    Scope::Command => assert!(self.command_alive, "a reaped pid was killed"),
                    Scope::Everything => assert!(
                        unsaid || self.rest_signaled_while_alive + self.rest_signaled_after > 0,
                        "the rest was killed without SIGTERM"
                    ),
                }
                self.killed = true;
            }
            Action::Arm(timer, after) => {
                self.arm(*timer, *after);
                self.check_timer(*timer, *after);
            }
            Action::ArmEarlier(timer, after) => {
                assert!(matches!(event, Event::StopBy { .. }), "earlier untold");
                if self.expires(*timer).is_none_or(|armed| *after < armed) {
                    self.arm(*timer, *after);
                }
            }
            Action::Notice(Notice::Left) => assert!(
                self.rules.leftovers == LeftoverPolicy::Leave
                    || self.rules.leftovers == LeftoverPolicy::Auto
                        && !self.rules.pid1
                        && !self.stop_requested,
                "left what was to be stopped"
            ),
            Action::Notice(Notice::Unkillable) => assert_eq!(event, Event::Expired(Timer::GiveUp)),
            Action::Exit(ending) => {
                let made_up = Ending::Killed(Signal::KILL, false);
                let command = self.command_ending.unwrap_or_else(|| {
                    assert_eq!(
                        event,
                        Event::Expired(Timer::GiveUp),
                        "exit before the command"
                    );
                    made_up
                });
                assert_eq!(*ending, command, "the exit status is the command's");
                self.exited = true;
            }
        }
    }

    fn check_rest(&mut self) {
        assert_ne!(
            self.rules.leftovers,
            LeftoverPolicy::Leave,
            "leftover processes are not to be signaled"
        );
        let signaled = if self.command_alive {
            assert!(self.stop_requested, "signaled without a stop request");
            &mut self.rest_signaled_while_alive
        } else {
            let left = self.rules.leftovers == LeftoverPolicy::Auto && !self.rules.pid1;
            assert!(self.stop_requested || !left, "signaled what was to be left");
            &mut self.rest_signaled_after
        };
        let first = *signaled == 0;
        // Those that could not be read, again.
        if *signaled == 0 || !self.some_unread {
            *signaled += 1;
        }
        self.looking = true;
        self.some_unread = false;
        // The leftover processes have a grace period of their own.
        if first && !self.stop_requested {
            self.kill_in(self.grace());
        }
        assert!(
            self.rest_signaled_while_alive <= 1 && self.rest_signaled_after <= 1,
            "signaled twice"
        );
    }

    fn check_request(&mut self, event: Event, request: Request) {
        match (request, event) {
            (Request::Signal(by), Event::Signal(received, origin)) => {
                assert!(by == received && self.is_stop(received, origin));
            }
            (Request::Rehearsal(by), Event::Rehearse(signal)) => assert_eq!(by, signal),
            (Request::Main(by), Event::StopBy { signal, .. }) => {
                assert_eq!(by, signal);
                assert!(
                    !self.stop_requested,
                    "only the first stop request starts it"
                );
                self.stop_requested = true;
                return;
            }
            _ => panic!("the grace period started without a stop request"),
        }
        assert!(
            !self.stop_requested,
            "only the first stop request starts it"
        );
        self.stop_requested = true;
        self.kill_in(self.grace());
        self.rest_due = self.grace().map(|grace| grace / 4 * 3);
    }

    fn check_cut_short(&mut self, event: Event, signal: Signal) {
        let typed = matches!(event, Event::Signal(received, origin)
            if received.signal == signal && origin.typed);
        assert!(typed && !self.killed, "cut short without a key");
        assert!(
            self.stop_requested && !self.command_alive,
            "cut short by the first key, or one that the command acts on"
        );
        self.cut_short = true;
    }

    fn check_timer(&mut self, timer: Timer, after: Duration) {
        let delay = self.rules.delay;
        let left = GRACE.saturating_sub(delay);
        match timer {
            Timer::DelayOver => assert_eq!(after, delay),
            Timer::StillWaiting => assert!(after >= delay && (self.no_end() || after < GRACE)),
            Timer::TerminateRest => assert_eq!(after, delay + left / 4 * 3),
            Timer::GraceOver => {
                assert_eq!(after, GRACE);
                self.grace_armed += 1;
                assert_eq!(self.grace_armed, 1, "the grace period was restarted");
            }
            Timer::LookAgain => assert!(!after.is_zero(), "looking must not spin"),
            Timer::KillAgain => assert!(!after.is_zero(), "killing must not spin"),
            Timer::GiveUp => assert_eq!(after, Duration::from_secs(1)),
        }
    }

    fn no_end(&self) -> bool {
        self.rules.grace == Grace::Infinite
    }

    fn check_job_control(&mut self, event: Event, action: &Action) {
        match action {
            Action::GiveForeground(signal) => {
                let wanted = matches!(event, Event::CommandStopped { can_take_terminal, .. } if can_take_terminal);
                assert!(wanted, "a terminal that is not ours to give");
                assert!(self.command_alive, "handed over to a reaped pid");
                self.giving_foreground = Some(*signal);
            }
            Action::Suspend(signal) => {
                assert!(
                    self.rules.job_control,
                    "suspended with no shell to resume us"
                );
                if self.command_alive {
                    assert!(!self.stop_requested, "suspended during a stop");
                } else {
                    let key = matches!(event, Event::Signal(_, origin) if origin.typed);
                    assert!(key, "suspended without the command and without a key");
                }
                self.suspending = Some(*signal);
            }
            _ => {
                assert!(self.command_alive, "a reaped pid is stuck");
                assert!(!self.stop_requested, "stuck, and not resumed");
            }
        }
    }

    /// What must hold between events: the end is always in sight.
    fn check_end_in_sight(&self, event: Event) {
        if event == Event::NothingLeft && !self.command_alive {
            assert!(self.exited, "exits at once when nothing is left");
        }
        if event == Event::Expired(Timer::GiveUp) {
            assert!(self.exited, "exits when SIGKILL has had its time");
        }
        if self.exited {
            return;
        }
        if self.killed {
            assert!(
                self.expires(Timer::GiveUp).is_some(),
                "a stop without an end in sight"
            );
        } else {
            assert_eq!(
                self.expires(Timer::GraceOver),
                self.due,
                "not killed when it is due"
            );
        }
        let signaled = self.rest_signaled_while_alive + self.rest_signaled_after > 0;
        if self.told && !(self.killed || signaled) {
            assert_eq!(
                self.expires(Timer::TerminateRest),
                self.rest_due,
                "the rest is not signaled when it is to be"
            );
            assert_ne!(
                event,
                Event::Expired(Timer::TerminateRest),
                "the rest was to be signaled"
            );
        }
        if self.some_unread && !self.killed {
            let again = self.expires(Timer::LookAgain);
            assert!(
                again.is_some(),
                "some could not be read and are not looked for again"
            );
        }
        if event == Event::Expired(Timer::GraceOver) {
            assert!(self.killed, "the deadline passed and nothing was killed");
        }
    }
}

/// A lifecycle, and the notes about it.
#[derive(Clone, Hash)]
struct Run {
    lifecycle: Lifecycle,
    world: World,
}

impl Course for Run {
    type Event = Event;
    type Action = Action;

    fn possible(&self) -> Vec<Event> {
        self.world.possible()
    }

    fn decide(&mut self, event: Event) -> Vec<Action> {
        self.lifecycle.on(event)
    }

    fn observe(&mut self, event: Event, actions: &[Action]) {
        self.world.observe(event, actions);
        assert_eq!(self.lifecycle.stage(), self.world.stage(), "the stage");
    }

    fn rules(&self) -> &dyn std::fmt::Debug {
        &self.world.rules
    }
}

fn all_rules() -> Vec<Rules> {
    let graces = [
        Grace::For(GRACE),
        Grace::For(Duration::ZERO),
        Grace::Infinite,
    ];
    let leftovers = [
        LeftoverPolicy::Auto,
        LeftoverPolicy::Stop,
        LeftoverPolicy::Wait,
        LeftoverPolicy::Leave,
    ];
    let mut all = Vec::new();
    for grace in graces {
        for leftovers in leftovers {
            for pid1 in [true, false] {
                for job_control in [true, false] {
                    all.push(rules(grace, leftovers, pid1, job_control));
                }
            }
        }
    }
    for grace in [Grace::For(GRACE), Grace::Infinite] {
        for leftovers in leftovers {
            let rules = rules(grace, leftovers, false, true);
            all.push(Rules {
                delay: DELAY,
                ..rules
            });
        }
    }
    for grace in graces {
        all.push(rules_of_keeper(grace));
    }
    all
}

#[test]
fn every_sequence_of_events_keeps_the_invariants() {
    let mut walked = Walked::default();
    for rules in all_rules() {
        let run = Run {
            world: World::new(rules.clone()),
            lifecycle: Lifecycle::new(rules),
        };
        walked += every_sequence(run, DEPTH);
    }
    // A walk that stops early would pass unseen.
    assert!(walked.states > 1_000_000, "only {walked:?}");
}

#[test]
fn nothing_is_done_after_the_end() {
    for rules in all_rules() {
        let mut lifecycle = Lifecycle::new(rules.clone());
        let _ = lifecycle.on(Event::CommandEnded(ENDINGS[0]));
        assert_eq!(
            lifecycle.on(Event::NothingLeft),
            [Action::Exit(ENDINGS[0])],
            "{rules:?}"
        );
        let timers = [
            Timer::DelayOver,
            Timer::StillWaiting,
            Timer::TerminateRest,
            Timer::LookAgain,
            Timer::GraceOver,
            Timer::KillAgain,
            Timer::GiveUp,
        ];
        let signals = World::new(rules).signals();
        let late = signals.into_iter().chain(timers.map(Event::Expired));
        for event in late.chain([Event::SomeLeft, Event::NothingLeft, stops()[0]]) {
            assert_eq!(lifecycle.on(event), [], "{event:?} after the end");
        }
    }
}

/// A stop request from anyone, for us alone.
fn stop_request() -> Event {
    let received = Received {
        signal: Signal::TERM,
        code: 0,
        pid: 1,
        uid: 0,
        value: 0,
    };
    Event::Signal(received, Origin::for_us(false))
}

fn ordinary(job_control: bool) -> Lifecycle {
    let rules = rules(Grace::For(GRACE), LeftoverPolicy::Auto, false, job_control);
    Lifecycle::new(rules)
}

fn suspended_by(signal: Signal, can_take_terminal: bool) -> Event {
    Event::CommandStopped {
        signal,
        can_take_terminal,
    }
}

#[test]
fn a_suspended_command_is_answered_by_signal_and_phase() {
    let (tstp, stop) = (Signal::TSTP, Signal::STOP);
    let (ttin, ttou) = (Signal::TTIN, Signal::TTOU);
    for signal in [tstp, stop, ttin, ttou] {
        let event = suspended_by(signal, false);
        assert_eq!(ordinary(true).on(event), [Action::Suspend(signal)]);
        let stuck = [Action::Notice(Notice::Stuck(signal))];
        let waits = [ttin, ttou].contains(&signal);
        let expected: &[Action] = if waits { &stuck } else { &[] };
        assert_eq!(ordinary(false).on(event), expected);
        // We were not suspended either.
        let not_suspended = Event::NotSuspended(signal);
        let expected: &[Action] = match signal {
            Signal::TSTP => &[Action::Resume],
            Signal::STOP => &[],
            _ => &stuck,
        };
        assert_eq!(ordinary(true).on(not_suspended), expected);
        let mut ended = ordinary(true);
        let _ = ended.on(Event::CommandEnded(ENDINGS[0]));
        assert_eq!(ended.on(not_suspended), []);
        let mut stopping = ordinary(true);
        let _ = stopping.on(stop_request());
        assert_eq!(stopping.on(not_suspended), []);
    }
    let hand_over = [Action::GiveForeground(ttin)];
    assert_eq!(ordinary(true).on(suspended_by(ttin, true)), hand_over);
}

#[test]
fn a_command_that_suspends_itself_again_and_again_is_resumed_a_few_times() {
    let mut lifecycle = ordinary(true);
    let _ = lifecycle.on(stop_request());
    for _ in 0..RESUMES {
        assert_eq!(lifecycle.on(stops()[1]), [Action::Resume]);
    }
    assert_eq!(lifecycle.on(stops()[1]), []);
}

#[test]
fn what_is_left_is_about_to_be_left_only_by_auto_and_not_as_pid_1() {
    for leftovers in [
        LeftoverPolicy::Auto,
        LeftoverPolicy::Stop,
        LeftoverPolicy::Wait,
    ] {
        for pid1 in [false, true] {
            for ended in [false, true] {
                for requested in [false, true] {
                    let rules = rules(Grace::For(GRACE), leftovers, pid1, false);
                    let mut lifecycle = Lifecycle::new(rules);
                    if requested {
                        let _ = lifecycle.on(stop_request());
                    }
                    if ended {
                        let _ = lifecycle.on(Event::CommandEnded(ENDINGS[0]));
                    }
                    let expected =
                        leftovers == LeftoverPolicy::Auto && !pid1 && ended && !requested;
                    assert_eq!(lifecycle.is_about_to_leave(), expected);
                }
            }
        }
    }
}

#[test]
fn a_held_request_is_forwarded_when_the_delay_is_over() {
    let rules = rules(Grace::For(GRACE), LeftoverPolicy::Auto, false, false);
    let mut lifecycle = Lifecycle::new(Rules {
        delay: DELAY,
        ..rules
    });
    let is_forward = |action: &Action| matches!(action, Action::Forward { .. });
    let actions = lifecycle.on(stop_request());
    assert!(
        actions.contains(&Action::Notice(Notice::Delayed)),
        "{actions:?}"
    );
    assert!(!actions.iter().any(is_forward), "{actions:?}");
    let actions = lifecycle.on(Event::Expired(Timer::DelayOver));
    assert!(actions.iter().any(is_forward), "{actions:?}");
}

#[test]
fn what_has_not_ended_is_named_and_killed_again() {
    let mut lifecycle = ordinary(false);
    let _ = lifecycle.on(stop_request());
    let say = Event::Expired(Timer::StillWaiting);
    assert_eq!(lifecycle.on(say), [Action::Notice(Notice::Waiting)]);
    let _ = lifecycle.on(Event::CommandEnded(ENDINGS[0]));
    assert_eq!(lifecycle.on(Event::SomeLeft), [Action::TerminateRest]);
    assert_eq!(lifecycle.on(say), [Action::Notice(Notice::Waiting)]);
    let _ = lifecycle.on(Event::Expired(Timer::GraceOver));
    for twice in [FIRST_KILL_AGAIN * 2, FIRST_KILL_AGAIN * 4] {
        assert_eq!(
            lifecycle.on(Event::Expired(Timer::KillAgain)),
            [
                Action::Kill(Scope::Everything),
                Action::Arm(Timer::KillAgain, twice)
            ]
        );
    }
}

#[test]
fn what_could_not_be_read_is_looked_for_less_and_less_often() {
    let mut lifecycle = ordinary(false);
    let _ = lifecycle.on(stop_request());
    let _ = lifecycle.on(Event::CommandEnded(ENDINGS[0]));
    let _ = lifecycle.on(Event::SomeLeft);
    for again in [1, 2, 4].map(|times| FIRST_LOOK_AGAIN * times) {
        let look = Event::Expired(Timer::LookAgain);
        let arm = Action::Arm(Timer::LookAgain, again);
        assert_eq!(lifecycle.on(Event::SomeUnread), [arm]);
        assert_eq!(lifecycle.on(look), [Action::TerminateRest]);
        // All could be read.
        assert_eq!(lifecycle.on(look), []);
    }
    let _ = lifecycle.on(Event::SomeUnread);
    let _ = lifecycle.on(Event::Expired(Timer::GraceOver));
    assert_eq!(lifecycle.on(Event::Expired(Timer::LookAgain)), []);
}

#[test]
fn a_terminal_that_was_not_handed_over_suspends_and_only_before_a_stop() {
    let not_handed_over = Event::ForegroundRefused(Signal::TTIN);
    let mut lifecycle = ordinary(true);
    let suspend = Action::Suspend(Signal::TTIN);
    assert_eq!(lifecycle.on(not_handed_over), [suspend]);
    let _ = lifecycle.on(stop_request());
    assert_eq!(lifecycle.on(not_handed_over), []);
}

#[test]
fn what_is_known_of_a_suspension_follows_the_events() {
    let mut lifecycle = ordinary(true);
    assert!(!lifecycle.command_is_suspended());
    let _ = lifecycle.on(stops()[1]);
    assert!(lifecycle.command_is_suspended());
    let _ = lifecycle.on(Event::CommandContinued);
    assert!(!lifecycle.command_is_suspended());
}

#[test]
fn a_grace_period_is_told_in_words() {
    let ten = Grace::For(Duration::from_secs(10));
    assert_eq!(ten.to_string(), "grace period 10s");
    assert_eq!(Grace::Infinite.to_string(), "grace period infinity");
}
