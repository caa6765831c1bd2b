//! Servers that are asked over a connection, each on a thread of its own: one that does not answer delays no other.
//!
//! Redis and memcached are read this way: a [`Watch`] knows one server, [`Watched`] adds its thread, and a reading asks all of them before it waits for the first.
//!
//! An answer travels in a box that goes to the thread and comes back, so its buffers are kept. One that comes after the deadline of its reading is of no use as a
//! measurement, but it still tells how the server is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{Readings, SampleError};
use crate::redis::State;

/// Enough for a handshake of TLS. Only what is touched becomes resident.
const STACK_BYTES: usize = 512 * 1024;
/// Part of the interval that a reading may wait for servers, and the most: less than what the recorder waits for the reading.
const PATIENCE: (u32, Duration) = (5, Duration::from_millis(150));
/// One of so many readings also asks for what costs more.
const DETAIL_EVERY: u32 = 10;
/// Time between two log lines that say the same of one server.
const LOG_PERIOD: Duration = Duration::from_mins(1);

/// A server.
pub(super) trait Remote: Send + 'static {
    /// What it says, with buffers that are kept.
    type Answer: Default + Send + 'static;

    /// Asks it. May block as long as its own time-outs allow.
    fn ask(&mut self, answer: &mut Self::Answer);
}

/// The thread of one server.
#[derive(Debug)]
pub(super) struct Worker<A> {
    questions: SyncSender<Box<A>>,
    answers: Receiver<Box<A>>,
    place: Place<A>,
    cpu_ns: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Place<A> {
    /// Waiting to be asked.
    Here(Box<A>),
    /// With the thread.
    There,
    /// The thread has panicked.
    Gone,
}

/// How long a reading may wait for servers, at this interval of the agent.
#[must_use]
pub fn patience(interval: Duration) -> Duration {
    PATIENCE.1.min(interval / PATIENCE.0)
}

impl<A: Default + Send + 'static> Worker<A> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses one.
    pub(super) fn start(
        name: &str,
        mut remote: impl Remote<Answer = A>,
    ) -> Result<Self, SampleError> {
        let (questions, asked) = sync_channel::<Box<A>>(1);
        let (answer, answers) = sync_channel(1);
        let cpu_ns = Arc::new(AtomicU64::new(0));
        let cpu = Arc::clone(&cpu_ns);
        let work = move || {
            while let Ok(mut question) = asked.recv() {
                remote.ask(&mut question);
                cpu.store(thread_cpu().as_nanos() as u64, Ordering::Relaxed);
                if answer.send(question).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(work)
            .map_err(|source| SampleError::Read { path: name.to_owned(), source })?;
        Ok(Self { questions, answers, place: Place::Here(Box::default()), cpu_ns })
    }

    /// Takes back what came after the deadline.
    pub(super) fn late(&mut self) -> Option<&A> {
        if !matches!(self.place, Place::There) {
            return None;
        }
        match self.answers.try_recv() {
            Ok(answer) => self.place = Place::Here(answer),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => self.place = Place::Gone,
        }
        match &self.place {
            Place::Here(answer) => Some(answer),
            _ => None,
        }
    }

    /// Asks, unless it still works on the last question.
    pub(super) fn ask(&mut self, prepare: impl FnOnce(&mut A)) {
        if !matches!(self.place, Place::Here(_)) {
            return;
        }
        if let Place::Here(mut question) = std::mem::replace(&mut self.place, Place::There) {
            prepare(&mut question);
            if self.questions.try_send(question).is_err() {
                self.place = Place::Gone;
            }
        }
    }

    /// Waits for the answer until the deadline.
    pub(super) fn answer(&mut self, deadline: Instant) -> Option<&mut A> {
        if matches!(self.place, Place::There) {
            let left = deadline.saturating_duration_since(Instant::now());
            self.place = Place::Here(self.answers.recv_timeout(left).ok()?);
        }
        match &mut self.place {
            Place::Here(answer) => Some(answer),
            _ => None,
        }
    }

    /// True when the thread has panicked.
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.place, Place::Gone)
    }

    /// CPU time of the thread since it started.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }
}

/// What is known of one server beside its thread.
pub(super) trait Watch: Send {
    /// What it is asked with.
    type Remote: Remote;

    /// Name of its thread.
    fn thread(&self) -> String;

    /// What asks it, without a connection yet.
    fn remote(&self) -> Self::Remote;

    /// Its status.
    fn status(&mut self) -> &mut Status;

    /// Tells an answer whether more is wanted than what each reading has.
    fn prepare(answer: &mut <Self::Remote as Remote>::Answer, wants_detail: bool);

    /// Takes note of how the server is.
    fn note(&mut self, answer: &<Self::Remote as Remote>::Answer);

    /// Publishes an answer. True when the detail was in it.
    fn publish(
        &mut self,
        answer: &<Self::Remote as Remote>::Answer,
        readings: &mut Readings,
    ) -> bool;

    /// Publishes how the server is.
    fn publish_state(&mut self, state: Option<State>, readings: &mut Readings);
}

/// One server with its thread.
pub(super) struct Watched<W: Watch> {
    watch: W,
    worker: Option<Worker<<W::Remote as Remote>::Answer>>,
    cpu: Duration,
}

/// How a server is, and when more is to be asked of it.
#[derive(Debug, Default)]
pub(super) struct Status {
    state: Option<State>,
    announcer: Announcer,
    /// Readings until the next one with the detail.
    detail_in: u32,
}

impl<W: Watch> Watched<W> {
    /// No thread is started before the first reading.
    pub(super) const fn new(watch: W) -> Self {
        Self { watch, worker: None, cpu: Duration::ZERO }
    }

    /// A reading of all servers, which waits `patience` in all.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn sample(
        all: &mut [Self],
        patience: Duration,
        readings: &mut Readings,
    ) -> Result<(), SampleError> {
        all.iter_mut().try_for_each(Self::ask)?;
        let deadline = Instant::now() + patience;
        for watched in all {
            watched.take(deadline, readings);
        }
        Ok(())
    }

    /// CPU time of the threads since the last call.
    pub(super) fn take_cpu(all: &mut [Self]) -> Duration {
        let of = |watched: &mut Self| {
            let now = watched.worker.as_ref().map_or(Duration::ZERO, Worker::cpu);
            now.saturating_sub(std::mem::replace(&mut watched.cpu, now))
        };
        all.iter_mut().map(of).sum()
    }

    fn ask(&mut self) -> Result<(), SampleError> {
        if self.worker.as_ref().is_some_and(Worker::is_gone) {
            tracing::error!(thread = self.watch.thread(), "has panicked and is started again");
            self.worker = None;
        }
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(Worker::start(&self.watch.thread(), self.watch.remote())?),
        };
        if let Some(late) = worker.late() {
            self.watch.note(late);
        }
        let wants_detail = self.watch.status().wants_detail();
        worker.ask(|answer| W::prepare(answer, wants_detail));
        Ok(())
    }

    fn take(&mut self, deadline: Instant, readings: &mut Readings) {
        if let Some(answer) = self.worker.as_mut().and_then(|worker| worker.answer(deadline)) {
            self.watch.note(answer);
            if self.watch.publish(answer, readings) {
                self.watch.status().detail_in = DETAIL_EVERY;
            }
        }
        let state = self.watch.status().state;
        self.watch.publish_state(state, readings);
    }
}

impl Status {
    /// Takes note of a state. `Some` when it is to be logged, with the number of changes that were not.
    pub(super) fn note(&mut self, state: State) -> Option<u32> {
        self.state = Some(state);
        self.announcer.note(state, Instant::now())
    }

    fn wants_detail(&mut self) -> bool {
        self.detail_in = self.detail_in.saturating_sub(1);
        self.detail_in == 0
    }
}

/// Says how a server is when that changes: each state at most once in a while, so that one that comes and goes fills no log.
#[derive(Debug, Default)]
struct Announcer {
    state: Option<State>,
    logged: Vec<(State, Instant)>,
    silent: u32,
}

impl Announcer {
    fn note(&mut self, state: State, now: Instant) -> Option<u32> {
        if self.state.replace(state) == Some(state) {
            return None;
        }
        self.logged.retain(|(_, at)| now.duration_since(*at) < LOG_PERIOD);
        if self.logged.iter().any(|(logged, _)| *logged == state) {
            self.silent += 1;
            return None;
        }
        self.logged.push((state, now));
        Some(std::mem::take(&mut self.silent))
    }
}

pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Answers when it is told to.
    struct Told(Receiver<u32>);

    impl Remote for Told {
        type Answer = Vec<u32>;

        fn ask(&mut self, answer: &mut Vec<u32>) {
            answer.push(self.0.recv().expect("it is told or has ended"));
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_answer_that_is_late_is_taken_back_and_the_buffer_is_kept() {
        let (tell, told) = channel();
        let mut worker = Worker::start("told", Told(told)).unwrap();
        worker.ask(|answer| answer.push(1));
        assert!(worker.answer(Instant::now()).is_none());
        worker.ask(|_| panic!("it is at work"));
        assert!(worker.late().is_none());
        tell.send(2).unwrap();
        let deadline = soon();
        while worker.late().is_none() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(worker.late().is_none(), "once");
        tell.send(3).unwrap();
        worker.ask(|_| ());
        assert_eq!(worker.answer(soon()).unwrap(), &[1, 2, 3]);
        assert!(!worker.is_gone());
    }

    #[test]
    fn a_thread_that_panics_is_gone() {
        let (tell, told) = channel::<u32>();
        drop(tell);
        let mut worker = Worker::start("told", Told(told)).unwrap();
        worker.ask(|_| ());
        assert!(worker.answer(soon()).is_none());
        assert!(worker.late().is_none());
        worker.ask(|_| ());
        assert!(worker.is_gone());
    }

    /// Tells its states when it is told to.
    struct Slowly(Receiver<State>);

    impl Remote for Slowly {
        type Answer = Option<State>;

        fn ask(&mut self, answer: &mut Option<State>) {
            *answer = self.0.recv().ok();
        }
    }

    #[derive(Default)]
    struct One {
        states: parking_lot::Mutex<Option<Receiver<State>>>,
        status: Status,
        published: Vec<Option<State>>,
    }

    impl Watch for One {
        type Remote = Slowly;

        fn thread(&self) -> String {
            "one".to_owned()
        }

        fn remote(&self) -> Slowly {
            Slowly(self.states.lock().take().unwrap())
        }

        fn status(&mut self) -> &mut Status {
            &mut self.status
        }

        fn prepare(_: &mut Option<State>, _: bool) {}

        fn note(&mut self, answer: &Option<State>) {
            self.status.note(answer.unwrap());
        }

        fn publish(&mut self, _: &Option<State>, _: &mut Readings) -> bool {
            false
        }

        fn publish_state(&mut self, state: Option<State>, _: &mut Readings) {
            self.published.push(state);
        }
    }

    #[test]
    fn a_server_whose_answers_are_all_late_is_known_all_the_same() {
        let (tell, told) = channel();
        let states = parking_lot::Mutex::new(Some(told));
        let mut all = [Watched::new(One { states, ..One::default() })];
        let read = |all: &mut [Watched<One>]| {
            Watched::sample(all, Duration::ZERO, &mut Readings::default()).unwrap();
            all[0].watch.published.last().copied().flatten()
        };
        assert_eq!(read(&mut all), None);
        tell.send(State::Slow).unwrap();
        let deadline = soon();
        while read(&mut all) != Some(State::Slow) {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(Watched::take_cpu(&mut all) > Duration::ZERO);
        assert_eq!(Watched::take_cpu(&mut all), Duration::ZERO, "since the last call");
    }

    #[test]
    fn each_state_is_said_once_in_a_while() {
        let mut announcer = Announcer::default();
        let start = Instant::now();
        assert_eq!(announcer.note(State::Up, start), Some(0));
        assert_eq!(announcer.note(State::Up, start), None);
        assert_eq!(announcer.note(State::Slow, start), Some(0));
        assert_eq!(announcer.note(State::Up, start), None);
        assert_eq!(announcer.note(State::Slow, start), None);
        assert_eq!(announcer.note(State::Up, start + LOG_PERIOD), Some(2));
    }
}
