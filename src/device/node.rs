//! All that a device has under way with its server: care-of tests, updates until they are answered, and bindings that are kept alive.
//!
//! Pure. Give it what is to be done ([`Node::ask`], [`Node::test`], [`Node::let_go`]) and what comes in ([`Node::handle_datagram`]), call
//! [`Node::handle_timeout`] at [`Node::poll_timeout`], which any of these may move, and after each of them drain
//! [`Node::poll_transmit`] and [`Node::poll_event`].
//!
//! Binding Error and Binding Refresh Request are hints, since anybody may send them: the one is told and, with a provisioned key at hand,
//! answered by reserving the same address again; the other makes a refresh come earlier. Neither ends a binding.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::device::consent::{self, Awaited};
use crate::device::event::{AskId, Event, Outgoing};
use crate::device::exchange::{Answer, Ask, Backoff, Credential, Judged, Numbers, Proof};
use crate::mobility::Provisioned;
use crate::mobility::wire::{
    BindingAck, BindingError, CareOfTest, CareOfTestInit, ConsentQuestion, Message, Options, RefreshRequest, Remedy, Status,
};
use crate::now::{Mono, Now};
use crate::steering::keys::home_key;
use crate::steering::{BindingId, HomeAddress, Key, KeygenToken, Spi};

/// How long a token is used. The server takes it for half a minute longer.
pub const TOKEN_LIFE: Duration = Duration::from_secs(210);
/// Bindings are refreshed at the latest after this.
pub const REFRESH: Duration = Duration::from_secs(30);
/// Messages about one binding within a second (RFC 6275 section 11.8).
const PER_SECOND: usize = 3;
/// Remedies that are tried for one ask.
const MAX_REMEDIES: u8 = 8;
/// How long an authentic answer is waited for after one that may not be.
const DOUBT: Duration = Duration::from_secs(2);
/// How often a hint is followed.
const HINTS: Duration = Duration::from_secs(1);

/// A care-of test under way.
#[derive(Clone, Copy, Debug)]
struct Testing {
    cookie: [u8; 8],
    again: Mono,
    backoff: Backoff,
    until: Option<Mono>,
}

/// A token, and when it came.
#[derive(Clone, Copy, Debug)]
struct Shown {
    token: KeygenToken,
    at: Mono,
}

/// What an exchange waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// A token.
    Token,
    /// The time to send.
    Send { at: Mono },
}

/// One ask until it is answered.
#[derive(Clone, Debug)]
struct Exchange {
    ask: Ask,
    stage: Stage,
    numbers: Numbers,
    backoff: Backoff,
    /// When it was sent lately.
    recent: VecDeque<Mono>,
    until: Option<Mono>,
    remedies: u8,
    /// The token that was sent last.
    used: Option<KeygenToken>,
    /// The time that was sent last.
    ntp: u64,
    /// Whether somebody said that the shown token has expired.
    doubted: bool,
    /// The wait for somebody's yes.
    awaited: Option<Awaited>,
    /// Whether a refresh or a reservation that the node makes by itself.
    own: bool,
}

/// A binding that is kept alive.
#[derive(Clone, Debug)]
struct Kept {
    refresh: Ask,
    at: Mono,
    /// The refresh under way.
    under_way: Option<AskId>,
}

/// Fills octets unpredictably.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// A device, towards one server.
pub struct Node {
    random: Random,
    provisioned: Option<Provisioned>,
    exchanges: BTreeMap<AskId, Exchange>,
    tests: BTreeMap<IpAddr, Testing>,
    tokens: BTreeMap<IpAddr, Shown>,
    kept: BTreeMap<(HomeAddress, BindingId), Kept>,
    numbers: HashMap<Spi, u16>,
    times: HashMap<Spi, u64>,
    /// By how many seconds the server's clock is ahead.
    ahead: i64,
    hinted: Option<Mono>,
    ignored: u64,
    next: u64,
    out: VecDeque<Outgoing>,
    events: VecDeque<Event>,
}

impl Node {
    /// A device that has nothing.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            provisioned: None,
            exchanges: BTreeMap::new(),
            tests: BTreeMap::new(),
            tokens: BTreeMap::new(),
            kept: BTreeMap::new(),
            numbers: HashMap::new(),
            times: HashMap::new(),
            ahead: 0,
            hinted: None,
            ignored: 0,
            next: 0,
            out: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The sequence number last used under a key.
    pub fn number(&self, spi: Spi) -> Option<u16> {
        self.numbers.get(&spi).copied()
    }

    /// A token for a care-of address that is still good.
    pub fn token(&self, care_of: IpAddr, now: Now) -> Option<KeygenToken> {
        self.tokens.get(&care_of).filter(|shown| now.mono.since(shown.at) < TOKEN_LIFE).map(|shown| shown.token)
    }

    /// How many acknowledgements were ignored, since no key here authenticates them.
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether nothing is under way and nothing is kept.
    pub fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && self.tests.is_empty() && self.kept.is_empty()
    }

    /// Continues after that sequence number.
    pub fn set_number(&mut self, spi: Spi, last: u16) {
        self.numbers.insert(spi, last);
    }

    /// Reserves with that key what the server has lost.
    pub fn provision(&mut self, provisioned: Provisioned) {
        self.provisioned = Some(provisioned);
    }

    /// Tests a care-of address; ends in [`Event::Tested`], or in nothing once `patience` is over.
    pub fn test(&mut self, care_of: IpAddr, patience: Option<Duration>, now: Now) {
        self.begin_test(care_of, patience.map(|patience| now.mono + patience), now);
    }

    /// Whether that care-of address is being tested.
    pub fn is_testing(&self, care_of: IpAddr) -> bool {
        self.tests.contains_key(&care_of)
    }

    /// Asks for something. It ends in one event that names it, unless that is told as the node's own.
    pub fn ask(&mut self, ask: Ask, now: Now) -> AskId {
        self.begin(ask, false, now)
    }

    /// Stops keeping a binding, and asks for its end.
    pub fn let_go(&mut self, home: HomeAddress, binding: BindingId, patience: Duration, now: Now) -> Option<AskId> {
        let kept = self.kept.remove(&(home, binding))?;
        if let Some(id) = kept.under_way {
            self.exchanges.remove(&id);
        }
        let refresh = kept.refresh;
        let mut ask = Ask::remove(refresh.credential, home, Some(binding), refresh.care_of);
        ask.patience = Some(patience);
        Some(self.begin(ask, false, now))
    }

    /// Takes a datagram from the server.
    pub fn handle_datagram(&mut self, octets: &[u8], now: Now) {
        // What is no message is noise.
        let Ok(message) = Message::parse(octets) else { return };
        match &message {
            Message::CareOfTest(test) => self.tested(test, now),
            Message::BindingAck(ack) => self.acknowledged(octets, &message, ack, now),
            Message::BindingError(error) => self.in_error(error, now),
            Message::RefreshRequest(request) => self.refresh_wanted(request, now),
            _ => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.tests.retain(|_, testing| testing.until.is_none_or(|until| until > now.mono));
        let due: Vec<IpAddr> = self.tests.iter().filter(|(_, testing)| testing.again <= now.mono).map(|(care_of, _)| *care_of).collect();
        for care_of in due {
            self.send_test(care_of, now);
        }
        let over = |exchange: &Exchange| exchange.until.is_some_and(|until| until <= now.mono);
        let late: Vec<AskId> = self.exchanges.iter().filter(|(_, exchange)| over(exchange)).map(|(id, _)| *id).collect();
        for id in late {
            match self.exchanges.get(&id) {
                Some(exchange) if exchange.awaited.is_some() => self.refused(id, Status::NOT_PERMITTED),
                Some(exchange) if exchange.doubted => self.refused(id, Status::CARE_OF_NONCE),
                Some(exchange) if exchange.own => drop(self.exchanges.remove(&id)),
                _ => {
                    self.exchanges.remove(&id);
                    self.events.push_back(Event::NoAnswer { id });
                }
            }
        }
        let due: Vec<(HomeAddress, BindingId)> =
            self.kept.iter().filter(|(_, kept)| kept.under_way.is_none() && kept.at <= now.mono).map(|(key, _)| *key).collect();
        for key in due {
            self.refresh(key, now);
        }
        let ids: Vec<AskId> = self.exchanges.keys().copied().collect();
        for id in ids {
            self.advance(id, now);
        }
    }

    /// When [`Node::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let tests = self.tests.values().flat_map(|testing| [Some(testing.again), testing.until]);
        let exchanges = self.exchanges.values().flat_map(|exchange| {
            let send = if let Stage::Send { at } = exchange.stage { Some(at) } else { None };
            [send, exchange.until]
        });
        let kept = self.kept.values().map(|kept| kept.under_way.is_none().then_some(kept.at));
        tests.chain(exchanges).chain(kept).flatten().min()
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.out.pop_front()
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn begin(&mut self, ask: Ask, own: bool, now: Now) -> AskId {
        self.next += 1;
        let id = AskId(self.next);
        let stage = if ask.proof == Proof::Test && !ask.removes() { Stage::Token } else { Stage::Send { at: now.mono } };
        let exchange = Exchange {
            stage,
            numbers: Numbers::default(),
            backoff: Backoff::default(),
            recent: VecDeque::new(),
            until: ask.patience.map(|patience| now.mono + patience),
            remedies: 0,
            used: None,
            ntp: 0,
            doubted: false,
            awaited: None,
            own,
            ask,
        };
        self.exchanges.insert(id, exchange);
        self.advance(id, now);
        id
    }

    fn refresh(&mut self, key: (HomeAddress, BindingId), now: Now) {
        let Some(ask) = self.kept.get(&key).map(|kept| kept.refresh.clone()) else { return };
        let id = self.begin(ask, true, now);
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.under_way = Some(id);
        }
    }

    /// Takes an exchange as far as it gets by itself.
    fn advance(&mut self, id: AskId, now: Now) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (care_of, until) = (exchange.ask.care_of, exchange.until);
        let token = match (exchange.stage, exchange.ask.proof) {
            (Stage::Send { at }, _) if at > now.mono => return,
            (Stage::Send { .. }, Proof::Unneeded) => None,
            (Stage::Send { .. }, Proof::Shown(token)) => Some(token),
            (Stage::Token, _) | (Stage::Send { .. }, Proof::Test) => match self.token(care_of, now) {
                Some(token) => Some(token),
                None => {
                    if let Some(exchange) = self.exchanges.get_mut(&id) {
                        exchange.stage = Stage::Token;
                    }
                    self.begin_test(care_of, until, now);
                    return;
                }
            },
        };
        self.send(id, token, now);
    }

    fn send(&mut self, id: AskId, token: Option<KeygenToken>, now: Now) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.recent.retain(|at| now.mono.since(*at) < Duration::from_secs(1));
        if let Some(first) = exchange.recent.front().filter(|_| exchange.recent.len() >= PER_SECOND) {
            exchange.stage = Stage::Send { at: *first + Duration::from_secs(1) };
            return;
        }
        let spi = exchange.ask.credential.spi();
        let number = match self.numbers.get(&spi) {
            Some(last) => last.wrapping_add(1),
            None => {
                let mut octets = [0; 2];
                (self.random)(&mut octets);
                u16::from_be_bytes(octets)
            }
        };
        self.numbers.insert(spi, number);
        let here = now.utc.ntp64().wrapping_add_signed(self.ahead << 32);
        let last = self.times.get(&spi).copied().unwrap_or(0);
        let ntp = here.max(last.wrapping_add(1));
        if matches!(exchange.ask.credential, Credential::Provisioned(_)) {
            self.times.insert(spi, ntp);
        }
        (exchange.used, exchange.ntp) = (token, ntp);
        exchange.numbers.add(number);
        exchange.recent.push_back(now.mono);
        let again = now.mono + exchange.backoff.next();
        exchange.stage = Stage::Send { at: exchange.awaited.map_or(again, |awaited| awaited.in_time(again, now.mono)) };
        let from = match exchange.ask.proof {
            // On behalf of who is there.
            Proof::Shown(_) => None,
            _ => Some(exchange.ask.care_of),
        };
        // A message of a few options is never too long.
        if let Ok(octets) = exchange.ask.write(number, token.as_ref(), ntp) {
            self.out.push_back(Outgoing { octets, from });
        }
    }

    fn begin_test(&mut self, care_of: IpAddr, until: Option<Mono>, now: Now) {
        if let Some(testing) = self.tests.get_mut(&care_of) {
            testing.until = testing.until.zip(until).map(|(one, other)| one.max(other));
            return;
        }
        let mut cookie = [0; 8];
        (self.random)(&mut cookie);
        self.tests.insert(care_of, Testing { cookie, again: now.mono, backoff: Backoff::default(), until });
        self.send_test(care_of, now);
    }

    fn send_test(&mut self, care_of: IpAddr, now: Now) {
        let Some(testing) = self.tests.get_mut(&care_of) else { return };
        testing.again = now.mono + testing.backoff.next();
        let test = Message::CareOfTestInit(CareOfTestInit { cookie: testing.cookie, options: Options::default() });
        if let Ok(octets) = test.to_vec() {
            self.out.push_back(Outgoing { octets, from: Some(care_of) });
        }
    }

    fn tested(&mut self, test: &CareOfTest, now: Now) {
        let found = self.tests.iter().find(|(_, testing)| testing.cookie == test.cookie).map(|(care_of, _)| *care_of);
        let Some(care_of) = found else { return };
        self.tests.remove(&care_of);
        let token = KeygenToken { index: test.nonce_index, token: test.token };
        self.tokens.insert(care_of, Shown { token, at: now.mono });
        self.events.push_back(Event::Tested { care_of, token });
        let waiting = |exchange: &Exchange| exchange.stage == Stage::Token && exchange.ask.care_of == care_of;
        let ids: Vec<AskId> = self.exchanges.iter().filter(|(_, exchange)| waiting(exchange)).map(|(id, _)| *id).collect();
        for id in ids {
            self.advance(id, now);
        }
    }

    fn acknowledged(&mut self, octets: &[u8], message: &Message, ack: &BindingAck, now: Now) {
        let judge = |(id, exchange): (&AskId, &Exchange)| {
            let judged = exchange.ask.judge(octets, message, ack, exchange.numbers.as_slice())?;
            Some((*id, judged))
        };
        match self.exchanges.iter().find_map(judge) {
            None => self.ignored += 1,
            Some((id, Judged::TestAsked)) => self.test_again(id, false, now),
            Some((id, Judged::Answered(answer))) if answer.status.is_accepted() => self.accepted(id, &answer, now),
            Some((id, Judged::Answered(answer))) => self.remedy(id, &answer, now),
        }
    }

    fn accepted(&mut self, id: AskId, answer: &Answer, now: Now) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let home = answer.home.or(exchange.ask.home);
        let has_key = answer.granted.is_some() || !matches!(exchange.ask.credential, Credential::Provisioned(_));
        let (Some(home), true) = (home, has_key) else {
            // Without an address and a key for it an acceptance is none.
            self.ignored += 1;
            return;
        };
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        let (ask, told) = (exchange.ask, (!exchange.own).then_some(id));
        if let Credential::Provisioned(provisioned) = &ask.credential {
            let Some((spi, validity_end)) = answer.granted else { return };
            let key = home_key(&provisioned.key, home, spi, &provisioned.nai);
            self.events.push_back(Event::Reserved { id: told, home, spi, key: key.clone(), validity_end });
            self.take_key(home, spi, &key, now);
            return;
        }
        if ask.removes() {
            self.events.push_back(Event::Removed { id });
            return;
        }
        self.events.push_back(Event::Bound { id: told, home, binding: ask.binding, lifetime: answer.lifetime, flow: answer.flow });
        if let Some(binding) = ask.binding.filter(|_| ask.keep) {
            let at = now.mono + (answer.lifetime / 2).min(REFRESH);
            self.kept.insert((home, binding), Kept { refresh: ask.refresh(), at, under_way: None });
        }
    }

    /// A home address has another key: what is kept of it is bound again.
    fn take_key(&mut self, home: HomeAddress, spi: Spi, key: &Key, now: Now) {
        let renewed = |ask: &mut Ask| match &mut ask.credential {
            Credential::Home { spi: old, key: old_key } if ask.home == Some(home) && *old != spi => {
                (*old, *old_key) = (spi, key.clone());
                if !ask.removes() && ask.proof == Proof::Unneeded {
                    ask.proof = Proof::Test;
                }
                true
            }
            _ => false,
        };
        for kept in self.kept.values_mut() {
            if renewed(&mut kept.refresh) {
                kept.refresh.proof = Proof::Unneeded;
                if kept.under_way.is_none() {
                    kept.at = now.mono;
                }
            }
        }
        let mut ids = Vec::new();
        for (id, exchange) in &mut self.exchanges {
            if renewed(&mut exchange.ask) {
                exchange.numbers.clear();
                exchange.backoff = Backoff::default();
                exchange.stage = Stage::Send { at: now.mono };
                ids.push(*id);
            }
        }
        for id in ids {
            self.advance(id, now);
        }
    }

    /// What the status says is to be done about it (`docs/signalling.md` section 10).
    fn remedy(&mut self, id: AskId, answer: &Answer, now: Now) {
        if let (Status::NOT_PERMITTED, Some(question)) = (answer.status, answer.question) {
            return self.asked(id, question, now);
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.remedies += 1;
        let hopeless = exchange.remedies > MAX_REMEDIES;
        match answer.status.remedy() {
            _ if hopeless => self.refused(id, answer.status),
            Remedy::CareOfTest => self.test_again(id, true, now),
            Remedy::NextNumber => {
                self.numbers.insert(exchange.ask.credential.spi(), answer.sequence);
                self.send_again(id, now);
            }
            Remedy::ReturnedTime => match answer.time {
                Some(time) => {
                    // The lower half is ours, so that the difference is whole seconds; eras wrap.
                    let difference = ((time >> 32) as u32).wrapping_sub((exchange.ntp >> 32) as u32) as i32;
                    self.ahead += i64::from(difference);
                    // It may go back as well.
                    self.times.remove(&exchange.ask.credential.spi());
                    self.send_again(id, now);
                }
                None => self.refused(id, answer.status),
            },
            _ => self.refused(id, answer.status),
        }
    }

    /// Somebody is asked first: the same update is accepted behind a yes.
    fn asked(&mut self, id: AskId, question: ConsentQuestion, now: Now) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let before = exchange.awaited;
        let awaited = before.map_or_else(|| Awaited::of(question, now.mono), |before| before.heard_again(question, now.mono));
        (exchange.awaited, exchange.until) = (Some(awaited), Some(awaited.until()));
        exchange.backoff = Backoff::default();
        if before.is_none() {
            let (told, home) = ((!exchange.own).then_some(id), exchange.ask.home);
            self.events.push_back(Event::Asked { id: told, home, asked: question.asked, left: consent::left(question) });
        }
        match awaited.next(now.mono) {
            Some(at) => exchange.stage = Stage::Send { at },
            None => self.refused(id, Status::NOT_PERMITTED),
        }
    }

    /// The care-of test has expired. Without proof of that it costs a test, and only where the token is one that was tested here.
    fn test_again(&mut self, id: AskId, is_authentic: bool, now: Now) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if !is_authentic && exchange.used.is_none() {
            // Nothing that could have expired was sent.
            return;
        }
        match exchange.ask.proof {
            Proof::Shown(_) if is_authentic => return self.refused(id, Status::CARE_OF_NONCE),
            Proof::Shown(_) => {
                // Only who is there can make another test. An authentic answer may still come.
                let soon = now.mono + DOUBT;
                exchange.until = Some(exchange.until.map_or(soon, |until| until.min(soon)));
                exchange.doubted = true;
                return;
            }
            _ => {}
        }
        exchange.ask.proof = Proof::Test;
        exchange.numbers.clear();
        let (care_of, used) = (exchange.ask.care_of, exchange.used);
        if self.tokens.get(&care_of).map(|shown| shown.token) == used {
            self.tokens.remove(&care_of);
        }
        self.send_again(id, now);
    }

    fn send_again(&mut self, id: AskId, now: Now) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.stage = Stage::Send { at: now.mono };
        }
        self.advance(id, now);
    }

    fn refused(&mut self, id: AskId, status: Status) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.kept.retain(|_, kept| kept.under_way != Some(id));
        self.events.push_back(Event::Refused { id: (!exchange.own).then_some(id), home: exchange.ask.home, status });
    }

    /// Whether a hint may be followed now.
    fn may_follow(&mut self, now: Now) -> bool {
        let may = self.hinted.is_none_or(|last| now.mono.since(last) >= HINTS);
        if may {
            self.hinted = Some(now.mono);
        }
        may
    }

    fn in_error(&mut self, error: &BindingError, now: Now) {
        let home = HomeAddress(error.home);
        let asked = self.exchanges.values().find(|exchange| exchange.ask.home == Some(home)).map(|exchange| exchange.ask.clone());
        let Some(asked) = asked.filter(|_| error.status == BindingError::UNKNOWN_HOME) else { return };
        if !self.may_follow(now) {
            return;
        }
        let by_home_key = matches!(asked.credential, Credential::Home { .. });
        let provisioned = self.provisioned.clone().filter(|_| by_home_key);
        self.events.push_back(Event::HomeUnknown { home, again: provisioned.is_some() });
        let reserves =
            |exchange: &Exchange| exchange.ask.home == Some(home) && matches!(exchange.ask.credential, Credential::Provisioned(_));
        if let Some(provisioned) = provisioned
            && !self.exchanges.values().any(reserves)
        {
            self.begin(Ask::reserve(provisioned, Some(home), asked.lifetime.max(Duration::from_secs(600)), asked.care_of), true, now);
        }
    }

    fn refresh_wanted(&mut self, request: &RefreshRequest, now: Now) {
        let Some(home) = request.options.home_network_prefix().map(|prefix| HomeAddress(prefix.address)) else { return };
        let kept = |((of, _), kept): &(&(HomeAddress, BindingId), &Kept)| *of == home && kept.under_way.is_none();
        let keys: Vec<(HomeAddress, BindingId)> = self.kept.iter().filter(kept).map(|(key, _)| *key).collect();
        if !keys.is_empty() && self.may_follow(now) {
            for key in keys {
                self.refresh(key, now);
            }
        }
    }
}
