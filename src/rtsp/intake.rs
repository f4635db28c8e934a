//! One publisher's media on their way into its live title: a task that takes packets in, whatever they come over, and reports to
//! their sender.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::library::Problem;
use crate::library::live::{LiveTrack, LiveUnit};
use crate::net::{PeerSocket, now};
use crate::now::Mono;
use crate::publish::publication::{Output, Publication, PublishedTrack, PublishedUnit};
use crate::publish::receiver::Counters;
use crate::rtsp::publishers::{Claim, Publishers};

/// A publisher of whom no media come for so long has gone.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Packets that wait for the task. Who sends over TCP waits where it is full; of datagrams what has no room is lost.
const QUEUE: usize = 1024;
/// Packets that are taken in before reports are sent and counters told.
const BATCH: usize = 64;
/// How long datagrams may come behind TEARDOWN; a gap is given up within this, too.
const REST: Duration = Duration::from_millis(200);
/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// What comes in.
pub(crate) enum Incoming {
    /// A packet of a track.
    Packet {
        /// Which.
        track: usize,
        /// Whether it is RTCP.
        is_rtcp: bool,
        /// Its octets.
        octets: Vec<u8>,
    },
    /// The publisher ends; told once the title has ended.
    End(oneshot::Sender<()>),
}

/// Of which track a packet is, with whether it is RTCP; `None` where that track is left out.
pub(crate) type Of = Option<(usize, bool)>;

/// Where a track's sender gets reports.
pub(crate) enum Reports {
    /// In its connection, on this channel.
    Interleaved(u8),
    /// At this socket's peer, or at the port that it told.
    Udp(Arc<PeerSocket>, u16),
}

/// What the task owns.
pub(crate) struct Intake {
    /// The tracks that are taken in.
    pub publication: Publication,
    /// Where their senders get reports, in the same order.
    pub reports: Vec<Reports>,
    /// Datagram sockets, and what each is for.
    pub sockets: Vec<(Arc<PeerSocket>, Of)>,
    /// The title.
    pub claim: Claim,
    /// Why some tracks are not in it.
    pub left_out: Vec<String>,
    /// The names of the tracks that are, for those that say nothing.
    pub names: Vec<String>,
    /// The number of the publisher's connection.
    pub connection: u64,
    /// Where that is found.
    pub publishers: Arc<Publishers>,
    /// [`SILENCE`], but for tests.
    pub silence: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The connection is gone.
    Vanished,
    /// It may publish no more.
    Forbidden,
    Silent,
    Useless,
}

impl Intake {
    /// Begins; packets of interleaved tracks are given to what is returned.
    pub fn start(self) -> mpsc::Sender<Incoming> {
        let (sender, queue) = mpsc::channel(QUEUE);
        // Sockets live as long as the task: they hold no sender that would keep it alive.
        let weak = sender.downgrade();
        tokio::spawn(self.run(queue, weak));
        sender
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Incoming>, sender: mpsc::WeakSender<Incoming>) {
        let mut readers = JoinSet::new();
        for (socket, of) in std::mem::take(&mut self.sockets) {
            readers.spawn(read(socket, of, sender.clone()));
        }
        tracing::info!(title = %self.claim.path(), "somebody publishes");
        let mut heard = now().mono;
        let mut told = Counters::default();
        let mut rules = self.publishers.watch_rules();
        // Others may have come to hold before they were watched.
        rules.mark_changed();
        let ending = loop {
            let before = now().mono;
            let until = self.publication.poll_timeout().map_or(heard + self.silence, |due| due.min(heard + self.silence));
            let mut incoming = tokio::select! {
                incoming = queue.recv() => match incoming {
                    Some(incoming) => Some(incoming),
                    None => break Ending::Vanished,
                },
                () = sleep(until.since(before)) => None,
                Ok(()) = rules.changed() => {
                    if !self.claim.is_allowed() {
                        break Ending::Forbidden;
                    }
                    None
                }
            };
            let now = now().mono;
            let (mut taken, mut goes_on) = (0, true);
            while let Some(item) = incoming.take() {
                match item {
                    Incoming::Packet { track, is_rtcp, octets } => {
                        if self.take(track, is_rtcp, &octets, now) {
                            heard = now;
                        }
                        // What puts packets in order has room for few of them.
                        goes_on = self.pass_on(now);
                    }
                    Incoming::End(done) => {
                        self.take_rest(&mut queue).await;
                        self.publication.finish();
                        self.pass_on(crate::net::now().mono);
                        self.count(&mut told);
                        tracing::info!(title = %self.claim.path(), "somebody has ended publishing");
                        self.claim.end();
                        let _ = done.send(());
                        return;
                    }
                }
                taken += 1;
                if goes_on && taken < BATCH {
                    incoming = queue.try_recv().ok();
                }
            }
            if !goes_on || !self.pass_on(now) {
                break Ending::Useless;
            }
            self.report(now);
            self.count(&mut told);
            if now.since(heard) >= self.silence {
                break Ending::Silent;
            }
        };
        self.publication.finish();
        self.pass_on(now().mono);
        self.count(&mut told);
        tracing::info!(title = %self.claim.path(), ?ending, "a publisher has gone");
        if let Some(connection) = self.publishers.connections.get(self.connection) {
            connection.close();
        }
        if ending == Ending::Forbidden {
            self.claim.end();
        }
    }

    /// Whether it is media: reports and junk are no sign that a publisher is there.
    fn take(&mut self, track: usize, is_rtcp: bool, octets: &[u8], now: Mono) -> bool {
        if is_rtcp {
            self.publication.handle_rtcp(track, octets, now);
            return false;
        }
        let outcome = self.publication.handle_rtp(track, octets, now);
        if let Err(junk) = outcome {
            tracing::trace!(%junk, "a published packet is of no use");
        }
        outcome.is_ok()
    }

    /// Takes datagrams that are still on their way: TEARDOWN, over TCP, may have overtaken them.
    async fn take_rest(&mut self, queue: &mut mpsc::Receiver<Incoming>) {
        if !self.reports.iter().any(|reports| matches!(reports, Reports::Udp(..))) {
            return;
        }
        let end = Instant::now() + REST;
        while Instant::now() < end
            && let Ok(Some(incoming)) = timeout_at(end, queue.recv()).await
        {
            if let Incoming::Packet { track, is_rtcp, octets } = incoming {
                self.take(track, is_rtcp, &octets, now().mono);
                self.pass_on(now().mono);
            }
        }
    }

    /// Gives the title what is there; whether it goes on.
    fn pass_on(&mut self, at: Mono) -> bool {
        while let Some(output) = self.publication.poll(at) {
            let outcome = match output {
                Output::Begin(tracks, silent) => {
                    let silent = silent.iter().filter_map(|track| self.names.get(*track));
                    self.left_out.extend(silent.map(|name| format!("{name} has not said how it is coded")));
                    let remark = (!self.left_out.is_empty()).then(|| Problem { reason: self.left_out.join("; ") });
                    let Some(feed) = self.claim.feed() else { return false };
                    let begun = feed.begin(tracks.into_iter().map(live_track).collect(), remark);
                    self.claim.has_begun |= begun.is_ok();
                    begun
                }
                Output::Unit(unit) => match self.claim.feed() {
                    Some(feed) => feed.push(live_unit(unit), now()),
                    None => return false,
                },
                Output::Nothing => return false,
            };
            if let Err(error) = outcome {
                tracing::debug!(title = %self.claim.path(), "an access unit is left out: {error}");
                metrics::counter!("flowsteer_published_dropped_total", "reason" => "refused").increment(1);
            }
        }
        true
    }

    fn report(&mut self, now: Mono) {
        while let Some((track, report)) = self.publication.poll_report(now) {
            match self.reports.get(track) {
                Some(Reports::Udp(socket, told)) => socket.send(&report, *told),
                Some(Reports::Interleaved(channel)) => {
                    let Ok(length) = u16::try_from(report.len()) else { continue };
                    let frame = [&[b'$', *channel], length.to_be_bytes().as_slice(), &report].concat();
                    if let Some(connection) = self.publishers.connections.get(self.connection) {
                        connection.offer(&frame, now);
                    }
                }
                None => {}
            }
        }
    }

    /// Adds to the metrics what has come since the last time.
    fn count(&self, told: &mut Counters) {
        let sum = self.publication.counters().fold(Counters::default(), |sum, one| Counters {
            packets: sum.packets + one.packets,
            lost: sum.lost + one.lost,
            junk: sum.junk + one.junk,
            malformed: sum.malformed + one.malformed,
            damaged: sum.damaged + one.damaged,
        });
        let before = std::mem::replace(told, sum);
        if sum.packets > before.packets {
            metrics::counter!("flowsteer_published_packets_total").increment(sum.packets - before.packets);
        }
        for (reason, count) in [
            ("lost", sum.lost - before.lost),
            ("junk", sum.junk - before.junk),
            ("malformed", sum.malformed - before.malformed),
            ("damaged", sum.damaged - before.damaged),
        ] {
            if count > 0 {
                metrics::counter!("flowsteer_published_dropped_total", "reason" => reason).increment(count);
            }
        }
    }
}

/// Reads a socket until the task that takes the packets is gone.
async fn read(socket: Arc<PeerSocket>, of: Of, sender: mpsc::WeakSender<Incoming>) -> io::Result<()> {
    let dropped = |reason| metrics::counter!("flowsteer_published_dropped_total", "reason" => reason).increment(1);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.receive(&mut buffer, || dropped("stranger")).await?;
        let Some((track, is_rtcp)) = of else { continue };
        let Some(sender) = sender.upgrade() else { return Ok(()) };
        let octets = buffer.get(..length).unwrap_or_default().to_vec();
        if sender.try_send(Incoming::Packet { track, is_rtcp, octets }).is_err() {
            dropped("no_room");
        }
    }
}

fn live_track(track: PublishedTrack) -> LiveTrack {
    LiveTrack { codec: track.codec, timescale: track.clock_rate, language: track.language }
}

fn live_unit(unit: PublishedUnit) -> LiveUnit {
    let PublishedUnit { track, presentation_time, random_access, octets } = unit;
    LiveUnit { track, octets, decode_time: None, presentation_time, random_access }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::TitlePath;
    use crate::library::live::{LiveSettings, LiveTitles};
    use crate::net::Connections;
    use crate::publish::announced::Announced;
    use crate::rtsp::publishers::{PublishRule, PublishRules};

    /// Samples that come interleaved, for a title of that path.
    fn intake(live: &Arc<LiveTitles>, path: &TitlePath, silence: Duration) -> Intake {
        let anybody = PublishRules::new(vec![PublishRule { path: "*".into(), credentials: None }]);
        let publishers = Publishers::new(anybody, Arc::clone(live), LiveSettings::default(), Arc::new(Connections::default()));
        let publishers = Arc::new(publishers);
        let claim = publishers.claim(path, None, publishers.rules()).expect("it is free");
        let tracks = Announced::parse(b"v=0\r\ns=x\r\nm=audio 0 RTP/AVP 0\r\n").expect("it can be read").tracks;
        Intake {
            publication: Publication::new(tracks, 1),
            reports: vec![Reports::Interleaved(1)],
            sockets: Vec::new(),
            claim,
            left_out: Vec::new(),
            names: vec!["track 0".into()],
            connection: 0,
            publishers,
            silence,
        }
    }

    fn sender_report() -> Incoming {
        Incoming::Packet { track: 0, is_rtcp: true, octets: [&[0x80, 200, 0, 6, 0, 0, 0, 9][..], &[1; 20]].concat() }
    }

    fn samples(sequence: u16) -> Incoming {
        let timestamp = u32::from(sequence) * 160;
        let head = [&[0x80, 0][..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 9]].concat();
        Incoming::Packet { track: 0, is_rtcp: false, octets: [&head[..], &[0x55; 160]].concat() }
    }

    #[tokio::test]
    async fn packets_that_have_gathered_are_all_taken_in() {
        let (live, path) = (Arc::new(LiveTitles::default()), TitlePath::new("studio").expect("a path"));
        let packets = intake(&live, &path, SILENCE).start();
        packets.try_send(sender_report()).expect("there is room");
        // Nothing else runs until the first await: all of them gather.
        for sequence in 0..500 {
            packets.try_send(samples(sequence)).expect("there is room");
        }
        let title = live.get(&path).expect("it is being published");
        while packets.capacity() < QUEUE {
            tokio::task::yield_now().await;
        }
        let ready = title.ready().expect("it has begun");
        assert_eq!(ready.tracks[0].len(), 500);
        let (done, ended) = oneshot::channel();
        packets.send(Incoming::End(done)).await.expect("it goes on");
        ended.await.expect("it ends");
        assert!(live.get(&path).is_none());
    }

    #[tokio::test]
    async fn who_is_silent_behind_record_is_given_up_although_the_connection_is_there() {
        let (live, path) = (Arc::new(LiveTitles::default()), TitlePath::new("studio").expect("a path"));
        let silence = Duration::from_millis(40);
        // Nothing ever comes: the path is free again.
        let packets = intake(&live, &path, silence).start();
        assert!(live.get(&path).is_some());
        packets.closed().await;
        assert!(live.get(&path).is_none());
        // Something has come, then reports alone do not count: whoever watches waits for the publisher's return.
        let packets = intake(&live, &path, silence).start();
        packets.send(sender_report()).await.expect("it has begun");
        packets.send(samples(1)).await.expect("it has begun");
        let begun = Instant::now();
        while packets.send(sender_report()).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(begun.elapsed() >= silence);
        let title = live.get(&path).expect("its publisher may come back");
        assert_eq!(title.problem().map(|problem| problem.reason), Some("its publisher is away".into()));
    }

    #[tokio::test]
    async fn who_may_publish_no_more_is_ended_at_once() {
        let (live, path) = (Arc::new(LiveTitles::default()), TitlePath::new("studio").expect("a path"));
        let intake = intake(&live, &path, SILENCE);
        let publishers = Arc::clone(&intake.publishers);
        let packets = intake.start();
        packets.send(sender_report()).await.expect("it has begun");
        packets.send(samples(1)).await.expect("it has begun");
        // It may also when others may not.
        publishers.replace(PublishRules::new(vec![PublishRule { path: "studio".into(), credentials: None }]));
        packets.send(samples(2)).await.expect("it goes on");
        while packets.capacity() < QUEUE {
            tokio::task::yield_now().await;
        }
        assert!(live.get(&path).is_some_and(|title| title.is_online()));
        publishers.replace(PublishRules::default());
        packets.closed().await;
        assert!(live.get(&path).is_none(), "it is not waited for");
    }
}
