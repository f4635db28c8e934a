//! Brings commands to the shards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use crate::library::TitlePath;
use crate::net::wait::Waker;
use crate::playback::{Command, Perform, PlaybackError, PresentationId, PresentationSnapshot, Reply};

/// Commands that wait for a shard at most.
pub const QUEUE: usize = 16_384;
/// Reports of receivers among them at most: whoever sends them, what others ask finds room.
const REPORTS: usize = 1024;

/// The way to one shard.
#[derive(Clone)]
pub struct ShardHandle {
    pub(crate) commands: SyncSender<Command>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) waker: Waker,
}

/// What a shard has to hear of even if its queue is full, for nobody says it twice.
#[derive(Default)]
pub(crate) struct Notices {
    stop: AtomicBool,
    routes_changed: AtomicBool,
    ended_titles: Mutex<Vec<TitlePath>>,
    /// How many reports are in the queue.
    reports: AtomicUsize,
}

impl Notices {
    /// A report has been taken out of the queue.
    pub(crate) fn report_taken(&self) {
        self.reports.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one more report may wait.
    fn admit_report(&self) -> bool {
        self.reports.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |reports| (reports < REPORTS).then_some(reports + 1)).is_ok()
    }

    /// Whether to say BYE to everybody and end.
    pub(crate) fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether routes have changed, nobody knows which; told once.
    pub(crate) fn take_routes_changed(&self) -> bool {
        self.routes_changed.load(Ordering::Acquire) && self.routes_changed.swap(false, Ordering::AcqRel)
    }

    /// Titles whose presentations are to end; told once.
    pub(crate) fn take_ended_titles(&self) -> Vec<TitlePath> {
        std::mem::take(&mut self.ended_titles.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ShardHandle {
    pub(crate) fn tell(&self, command: Command) {
        if is_report(&command) && !self.notices.admit_report() {
            metrics::counter!("flowsteer_commands_lost_total").increment(1);
            return;
        }
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(Command::RouteChanged { .. })) => self.notices.routes_changed.store(true, Ordering::Release),
            Err(TrySendError::Full(Command::EndTitle { title })) => {
                let mut titles = self.notices.ended_titles.lock().unwrap_or_else(PoisonError::into_inner);
                if !titles.contains(&title) {
                    titles.push(title);
                }
            }
            Err(TrySendError::Full(command)) => {
                metrics::counter!("flowsteer_commands_lost_total").increment(1);
                if is_report(&command) {
                    self.notices.report_taken();
                }
                command.refuse(PlaybackError::Busy);
            }
            // The server stops.
            Err(TrySendError::Disconnected(_)) => return,
        }
        self.waker.wake();
    }

    fn stop(&self) {
        self.notices.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Whether a command is one that people outside cause as often as they like, and that nobody waits for.
const fn is_report(command: &Command) -> bool {
    matches!(command, Command::Rtcp { .. } | Command::Bounced { .. })
}

/// Knows which shard a presentation lives on.
pub struct Director {
    shards: Vec<ShardHandle>,
}

impl Director {
    /// Over at least one shard.
    pub const fn new(shards: Vec<ShardHandle>) -> Self {
        Self { shards }
    }

    /// Ends all shards.
    pub fn stop(&self) {
        for shard in &self.shards {
            shard.stop();
        }
    }

    fn shard(&self, presentation: PresentationId) -> Option<&ShardHandle> {
        let count = self.shards.len().max(1) as u64;
        self.shards.get((presentation.0 % count) as usize)
    }

    /// Asks every shard, and answers when all have.
    fn gather<T: Send + 'static>(&self, reply: Reply<Vec<T>>, ask: impl Fn(Reply<Vec<T>>) -> Command) {
        let gathering = Arc::new(Mutex::new(Gathering { found: Ok(Vec::new()), open: self.shards.len(), reply: Some(reply) }));
        for shard in &self.shards {
            let gathering = Arc::clone(&gathering);
            shard.tell(ask(Box::new(move |found| add(&gathering, found))));
        }
    }
}

struct Gathering<T> {
    found: Result<Vec<T>, PlaybackError>,
    open: usize,
    reply: Option<Reply<Vec<T>>>,
}

/// One shard's part.
fn add<T>(gathering: &Mutex<Gathering<T>>, found: Result<Vec<T>, PlaybackError>) {
    let mut gathering = gathering.lock().unwrap_or_else(PoisonError::into_inner);
    match (&mut gathering.found, found) {
        (Ok(all), Ok(found)) => all.extend(found),
        (all @ Ok(_), Err(error)) => *all = Err(error),
        (Err(_), _) => {}
    }
    gathering.open = gathering.open.saturating_sub(1);
    if gathering.open == 0
        && let Some(reply) = gathering.reply.take()
    {
        let found = std::mem::replace(&mut gathering.found, Ok(Vec::new()));
        drop(gathering);
        reply(found);
    }
}

impl Perform for Director {
    fn perform(&self, command: Command) {
        let presentation = match &command {
            Command::Open { presentation, .. }
            | Command::AddFlow { presentation, .. }
            | Command::SetUp { presentation, .. }
            | Command::Await { presentation, .. }
            | Command::Play { presentation, .. }
            | Command::Pause { presentation, .. }
            | Command::End { presentation, .. }
            | Command::RouteChanged { presentation }
            | Command::Rtcp { presentation, .. }
            | Command::Bounced { presentation, .. }
            | Command::Snapshot { presentation: Some(presentation), .. } => *presentation,
            Command::EndTitle { title } => {
                for shard in &self.shards {
                    shard.tell(Command::EndTitle { title: title.clone() });
                }
                return;
            }
            Command::Snapshot { presentation: None, .. } => {
                if let Command::Snapshot { reply, .. } = command {
                    let sorted: Reply<Vec<PresentationSnapshot>> = Box::new(move |found| {
                        reply(found.map(|mut found| {
                            found.sort_by_key(|snapshot| snapshot.id);
                            found
                        }));
                    });
                    self.gather(sorted, |reply| Command::Snapshot { presentation: None, reply });
                }
                return;
            }
            Command::Ping { .. } => {
                if let Command::Ping { reply } = command {
                    let all: Reply<Vec<()>> = Box::new(move |answers| reply(answers.map(drop)));
                    let one = |reply: Reply<Vec<()>>| Command::Ping { reply: Box::new(move |answer| reply(answer.map(|()| Vec::new()))) };
                    self.gather(all, one);
                }
                return;
            }
        };
        if let Some(shard) = self.shard(presentation) {
            shard.tell(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;
    use std::sync::mpsc::{Receiver, channel, sync_channel};

    use crate::playback::ReportOrigin;
    use crate::steering::{BranchSerial, HomeAddress};

    fn shard(room: usize) -> (ShardHandle, Receiver<Command>) {
        let (commands, queue) = sync_channel(room);
        (ShardHandle { commands, notices: Arc::default(), waker: Waker::new().expect("a descriptor") }, queue)
    }

    #[test]
    fn who_asks_while_the_queue_is_full_is_told_so() {
        let ((free, heard), (full, _queue)) = (shard(10), shard(1));
        let director = Director::new(vec![free, full]);
        director.perform(Command::RouteChanged { presentation: PresentationId(1) });
        let (told, outcome) = channel();
        let reply = Box::new(move |outcome| told.send(outcome).expect("it is waited for"));
        director.perform(Command::Pause { presentation: PresentationId(1), reply });
        assert_eq!(outcome.try_recv().expect("at once"), Err(PlaybackError::Busy));
        // What is gathered is all or nothing.
        let (told, outcome) = channel();
        let reply = Box::new(move |outcome| told.send(outcome).expect("it is waited for"));
        director.perform(Command::Snapshot { presentation: None, reply });
        match heard.try_recv().expect("the other shard is asked") {
            Command::Snapshot { reply, .. } => reply(Ok(Vec::new())),
            _ => panic!("another command"),
        }
        assert_eq!(outcome.try_recv().expect("all have answered").expect_err("one could not"), PlaybackError::Busy);
    }

    #[test]
    fn every_shard_is_asked_whether_it_is_there_and_nothing_else() {
        let shards = [shard(10), shard(10)];
        let director = Director::new(shards.iter().map(|(shard, _)| shard.clone()).collect());
        let (told, outcome) = channel();
        director.perform(Command::Ping { reply: Box::new(move |outcome| told.send(outcome).expect("it is waited for")) });
        for (_, queue) in &shards {
            assert!(outcome.try_recv().is_err(), "not all have answered");
            match queue.try_recv().expect("it is asked") {
                Command::Ping { reply } => reply(Ok(())),
                _ => panic!("another command"),
            }
        }
        assert_eq!(outcome.try_recv().expect("all have answered"), Ok(()));
    }

    #[test]
    fn reports_leave_room_for_what_others_ask() {
        let (shard, queue) = shard(QUEUE);
        let notices = Arc::clone(&shard.notices);
        let director = Director::new(vec![shard]);
        let origin = ReportOrigin { home: HomeAddress(Ipv6Addr::LOCALHOST), branch: BranchSerial(1) };
        let report = || Command::Rtcp { presentation: PresentationId(1), origin, packet: vec![0x80; 8] };
        (0..QUEUE * 2).for_each(|_| director.perform(report()));
        assert_eq!(queue.try_iter().map(|_| notices.report_taken()).count(), REPORTS);
        director.perform(report());
        assert_eq!(queue.try_iter().count(), 1, "those that were taken make room");
    }

    #[test]
    fn what_nobody_says_twice_is_heard_although_the_queue_is_full() {
        let (commands, queue) = sync_channel(1);
        let notices = Arc::new(Notices::default());
        let shard = ShardHandle { commands, notices: Arc::clone(&notices), waker: Waker::new().expect("a descriptor") };
        let director = Director::new(vec![shard]);
        let title = TitlePath::new("film.mp4").expect("a path");
        let changed = || Command::RouteChanged { presentation: PresentationId(1) };
        director.perform(changed());
        assert!(!notices.take_routes_changed() && notices.take_ended_titles().is_empty(), "what has room is in the queue");
        director.perform(changed());
        for _ in 0..2 {
            director.perform(Command::EndTitle { title: title.clone() });
        }
        director.stop();
        assert!(notices.take_routes_changed() && !notices.take_routes_changed());
        assert_eq!(notices.take_ended_titles(), [title]);
        assert!(notices.stops());
        assert_eq!(queue.try_iter().count(), 1);
    }
}
