//! Brings commands to the shards.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use crate::net::wait::Waker;
use crate::playback::{Command, Perform, PlaybackError, PresentationId, PresentationSnapshot, Reply};

/// Commands that wait for a shard at most.
pub const QUEUE: usize = 16_384;

/// The way to one shard.
#[derive(Clone)]
pub struct ShardHandle {
    pub(crate) commands: SyncSender<ShardCommand>,
    pub(crate) waker: Waker,
}

/// What a shard is told.
pub(crate) enum ShardCommand {
    /// A command to presentations.
    Perform(Command),
    /// Say BYE to everybody and end.
    Stop,
}

impl ShardHandle {
    pub(crate) fn tell(&self, command: ShardCommand) {
        match self.commands.try_send(command) {
            Ok(()) => self.waker.wake(),
            Err(TrySendError::Full(_)) => {
                metrics::counter!("flowsteer_commands_lost_total").increment(1);
                self.waker.wake();
            }
            // The server stops.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
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
            shard.tell(ShardCommand::Stop);
        }
    }

    fn shard(&self, presentation: PresentationId) -> Option<&ShardHandle> {
        let count = self.shards.len().max(1) as u64;
        self.shards.get((presentation.0 % count) as usize)
    }

    /// Asks every shard, and answers when all have.
    fn gather(&self, reply: Reply<Vec<PresentationSnapshot>>) {
        let gathering = Arc::new(Mutex::new(Gathering { found: Vec::new(), open: self.shards.len(), reply: Some(reply) }));
        for shard in &self.shards {
            let part = Part { gathering: Arc::clone(&gathering) };
            let reply: Reply<Vec<PresentationSnapshot>> = Box::new(move |found| part.add(found));
            shard.tell(ShardCommand::Perform(Command::Snapshot { presentation: None, reply }));
        }
    }
}

struct Gathering {
    found: Vec<PresentationSnapshot>,
    open: usize,
    reply: Option<Reply<Vec<PresentationSnapshot>>>,
}

struct Part {
    gathering: Arc<Mutex<Gathering>>,
}

impl Part {
    fn add(&self, found: Result<Vec<PresentationSnapshot>, PlaybackError>) {
        let mut gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        gathering.found.extend(found.unwrap_or_default());
        gathering.open = gathering.open.saturating_sub(1);
        if gathering.open == 0
            && let Some(reply) = gathering.reply.take()
        {
            let mut found = std::mem::take(&mut gathering.found);
            found.sort_by_key(|snapshot| snapshot.id);
            drop(gathering);
            reply(Ok(found));
        }
    }
}

impl Perform for Director {
    fn perform(&self, command: Command) {
        let presentation = match &command {
            Command::Open { presentation, .. }
            | Command::AddFlow { presentation, .. }
            | Command::Await { presentation, .. }
            | Command::Play { presentation, .. }
            | Command::Pause { presentation, .. }
            | Command::End { presentation, .. }
            | Command::RouteChanged { presentation }
            | Command::Rtcp { presentation, .. }
            | Command::Snapshot { presentation: Some(presentation), .. } => *presentation,
            Command::EndTitle { title } => {
                for shard in &self.shards {
                    shard.tell(ShardCommand::Perform(Command::EndTitle { title: title.clone() }));
                }
                return;
            }
            Command::Snapshot { presentation: None, .. } => {
                if let Command::Snapshot { reply, .. } = command {
                    self.gather(reply);
                }
                return;
            }
        };
        if let Some(shard) = self.shard(presentation) {
            shard.tell(ShardCommand::Perform(command));
        }
    }
}
