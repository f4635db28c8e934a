//! Consent at the binding cache: which policy a home address has, and what a wish under it comes to (`consent`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::now::Now;
use crate::steering::cache::{BindingCache, lock};
use crate::steering::care_of::HomeAddress;
use crate::steering::command::Holder;
use crate::steering::consent::{ConsentEvent, NoSuchQuestion, Policy, Question, QuestionId, Wish, Withheld};
use crate::steering::home::HomeState;
use crate::steering::keys::{Key, Spi};

/// Which policy is in force where, unless a home address was reserved with one of its own.
#[derive(Clone, Debug, Default)]
pub struct ConsentRules {
    /// Of home addresses that are kept under a name.
    pub kept: HashMap<HomeAddress, Policy>,
    /// Of all others.
    pub default: Policy,
    /// The service that decides where a reservation asks for one.
    pub webhook: Option<Arc<str>>,
}

impl BindingCache {
    /// Goes by these rules from now on. What has moved has moved; what was asked and answered under the rules before counts no more,
    /// and questions that are open lapse.
    pub fn set_consent_rules(&self, rules: ConsentRules) {
        self.consent_rules.store(Arc::new(rules));
        lock(&self.consents).forget_answers();
    }

    /// The service that decides where a reservation asks for one.
    pub fn consent_webhook(&self) -> Option<Arc<str>> {
        self.consent_rules.load().webhook.clone()
    }

    /// Gives a home address that is reserved a policy of its own, until it is released.
    pub fn set_consent(&self, home: HomeAddress, policy: Policy) {
        if let Some(found) = self.find(home) {
            found.state().consent = Some(policy);
        }
    }

    /// The policy in force at a home address.
    pub fn consent_policy(&self, home: HomeAddress) -> Policy {
        let own = self.find(home).and_then(|found| found.state().consent.clone());
        own.unwrap_or_else(|| self.configured_policy(home))
    }

    fn configured_policy(&self, home: HomeAddress) -> Policy {
        let rules = self.consent_rules.load();
        rules.kept.get(&home).unwrap_or(&rules.default).clone()
    }

    /// Whether flows may go where they are wished to; those that `device`, if it is known, has there already may.
    ///
    /// # Errors
    /// Why they may not, or not yet: then nothing may be changed.
    pub fn consent_to(&self, wish: &Wish<'_>, device: Option<Holder>, now: Now) -> Result<(), Withheld> {
        let (mut policy, mut flows) = (Policy::AnyoneWithKey, Vec::new());
        for &flow in wish.flows {
            let Some(found) = self.find(flow.0) else { continue };
            let state = found.state();
            let own = state.consent.clone().unwrap_or_else(|| self.configured_policy(flow.0));
            if own != Policy::AnyoneWithKey && !device.is_some_and(|device| state.is_at(device, wish.taker)) {
                policy = policy.or_stricter(own);
                flows.push(flow);
            }
        }
        let [(home, _), ..] = *flows else { return Ok(()) };
        let outcome = self.ask_for_consent(&Wish { flows: &flows, ..*wish }, &policy, now);
        (self.changed)(home, None);
        outcome
    }

    /// As [`BindingCache::consent_to`] for one flow, whose home address is locked: who calls it tells of the change.
    pub(crate) fn consent_at(&self, state: &HomeState, wish: &Wish<'_>, device: Holder, now: Now) -> Result<(), Withheld> {
        let [(home, _)] = *wish.flows else { return Ok(()) };
        let policy = state.consent.clone().unwrap_or_else(|| self.configured_policy(home));
        if policy == Policy::AnyoneWithKey || state.is_at(device, wish.taker) { Ok(()) } else { self.ask_for_consent(wish, &policy, now) }
    }

    fn ask_for_consent(&self, wish: &Wish<'_>, policy: &Policy, now: Now) -> Result<(), Withheld> {
        let mut consents = lock(&self.consents);
        let before = consents.asked();
        let outcome = consents.ask(wish, policy, now.mono);
        // Who waits for an answer asks the same again and again.
        if !matches!(outcome, Err(Withheld::Asked(_))) || consents.asked() != before {
            self.counters().note_consent(&outcome);
        }
        outcome
    }

    /// The questions that are open.
    pub fn open_questions(&self, now: Now) -> Vec<Question> {
        lock(&self.consents).open(now.mono).cloned().collect()
    }

    /// The open question of that name.
    pub fn open_question(&self, id: QuestionId, now: Now) -> Option<Question> {
        lock(&self.consents).open(now.mono).find(|question| question.id == id).cloned()
    }

    /// Answers an open question.
    ///
    /// # Errors
    /// There is none of that name, or none any more.
    pub fn answer_question(&self, id: QuestionId, yes: bool, now: Now) -> Result<(), NoSuchQuestion> {
        let question = self.open_question(id, now).ok_or(NoSuchQuestion)?;
        lock(&self.consents).answer(id, yes, now.mono)?;
        if let Some((home, _)) = question.flows.first() {
            (self.changed)(*home, None);
        }
        Ok(())
    }

    /// A request is held for the answer to a question, until [`BindingCache::let_go_of_question`]; `false` where that is open no more,
    /// or too many are.
    pub fn hold_question(&self, id: QuestionId) -> bool {
        lock(&self.consents).hold(id)
    }

    /// A request is held no more. Where its asker does not come back for the answer, and nobody else asks, the question is withdrawn.
    pub fn let_go_of_question(&self, question: &Question, comes_back: bool, now: Now) {
        lock(&self.consents).let_go(question.id, comes_back, now.mono);
        if let Some((home, _)) = question.flows.first() {
            (self.changed)(*home, None);
        }
    }

    /// Whether the answer to a question is known, and counts still.
    pub fn is_answered(&self, question: &Question, now: Now) -> bool {
        lock(&self.consents).answered(&question.flows, question.taker, now.mono).is_some()
    }

    /// Whether a device that took the flow under that key has it.
    pub fn has_taken(&self, home: HomeAddress, key: Spi) -> bool {
        let Some(found) = self.find(home) else { return false };
        let state = found.state();
        state.bindings.iter().any(|binding| (binding.taken_under == Some(key) || binding.maker == Some(key)) && state.stays(binding.id))
    }

    /// What shows that a question was read where its taker is: of each question another.
    pub fn question_key(&self, id: QuestionId) -> [u8; 16] {
        self.question_secret().authenticate(&[&id.0.to_be_bytes()])
    }

    /// Whether that is what [`BindingCache::question_key`] gives, in constant time.
    pub fn is_question_key(&self, id: QuestionId, key: &[u8; 16]) -> bool {
        self.question_secret().verify(&[&id.0.to_be_bytes()], key)
    }

    fn question_secret(&self) -> &Key {
        self.question_secret.get_or_init(|| Key::new(self.random()))
    }

    /// The oldest event about a question that was not taken yet.
    pub fn poll_consent_event(&self) -> Option<ConsentEvent> {
        lock(&self.consents).poll_event()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use super::*;
    use crate::quantities::FlowLabel;
    use crate::steering::consent::{Side, Way};
    use crate::steering::{Authority, CareOf, Expectation, Join, Mode, Owner, Proof, Reserve, SteeringSettings, Update};

    const DEVICE: Holder = Holder(5);

    fn place() -> SocketAddr {
        "192.0.2.7:5004".parse().expect("an address")
    }

    /// A cache with a home address whose flow the device has.
    fn bound() -> (BindingCache, HomeAddress) {
        let settings = SteeringSettings::new("fd00::/64".parse().expect("a prefix"));
        let mut next = 0_u8;
        let random = move |octets: &mut [u8]| {
            octets.fill_with(|| {
                next = next.wrapping_mul(37).wrapping_add(11);
                next
            });
        };
        let cache = BindingCache::new(settings, Box::new(random), Box::new(|_, _| {}));
        let reserve =
            Reserve { owner: Owner::KeyHolder, address: None, lifetime: None, media_source: "2001:db8::1".parse().expect("an address") };
        let home = cache.reserve(&reserve, Now::default()).expect("there are addresses").home;
        cache.authorise(home, FlowLabel::new(7).expect("a label"), Expectation::default()).expect("it is reserved");
        let update = Update {
            home,
            authority: Authority::Operator,
            binding: None,
            care_of: CareOf::Udp { rtp: place(), rtcp: place(), source: None },
            proof: Proof::RequestPeer(place().ip()),
            lifetime: None,
            mode: Mode::Move,
            window: None,
            join: Join::default(),
            holder: DEVICE,
        };
        cache.update(&[update], Now::default()).expect("it is bound");
        (cache, home)
    }

    fn wish(flows: &[(HomeAddress, Spi)], taker: IpAddr) -> Wish<'_> {
        Wish { flows, taker, side: Side::Taker, by_itself: true, way: Way::Http, pin: None }
    }

    #[test]
    fn who_has_the_flow_is_not_asked_about_and_another_device_behind_its_address_is() {
        let (cache, home) = bound();
        let (flows, taker, now) = ([(home, Spi(300))], place().ip(), Now::default());
        assert_eq!(cache.consent_to(&wish(&flows, taker), None, now), Ok(()), "as long as nothing is configured");
        cache.set_consent_rules(ConsentRules { default: Policy::AskHolder, ..ConsentRules::default() });
        assert_eq!(cache.consent_to(&wish(&flows, taker), Some(DEVICE), now), Ok(()));
        assert!(matches!(cache.consent_to(&wish(&flows, taker), Some(Holder(6)), now), Err(Withheld::Asked(_))));
        assert_eq!(cache.open_questions(now).len(), 1);
        assert_eq!(cache.poll_timeout(), Some(now.after(Duration::from_secs(20)).mono));
        cache.handle_timeout(now.after(Duration::from_secs(20)));
        assert!(cache.open_questions(now).is_empty() && cache.counters().named().contains(&("consent_asked", 1)));
    }

    #[test]
    fn a_question_s_key_is_its_own_and_answers_are_forgotten_with_the_rules() {
        let (cache, home) = bound();
        let (flows, taker, now) = ([(home, Spi(300))], "192.0.2.9".parse().expect("an address"), Now::default());
        let rules = ConsentRules { default: Policy::AskHolder, ..ConsentRules::default() };
        cache.set_consent_rules(rules.clone());
        let Err(Withheld::Asked(id)) = cache.consent_to(&wish(&flows, taker), None, now) else { panic!("it is asked") };
        let key = cache.question_key(id);
        assert!(cache.is_question_key(id, &key) && !cache.is_question_key(QuestionId(id.0 + 1), &key));
        assert_ne!(cache.question_key(QuestionId(id.0 + 1)), key);
        let question = cache.open_question(id, now).expect("it is open");
        assert!(!cache.is_answered(&question, now));
        cache.answer_question(id, true, now).expect("it is open");
        assert!(cache.is_answered(&question, now));
        assert_eq!(cache.consent_to(&wish(&flows, taker), None, now), Ok(()));
        cache.set_consent_rules(rules);
        assert!(matches!(cache.consent_to(&wish(&flows, taker), None, now), Err(Withheld::Asked(_))));
    }

    #[test]
    fn a_policy_of_its_own_goes_over_that_of_the_name_and_that_over_the_default_until_the_release() {
        let (cache, home) = bound();
        let kept = HashMap::from([(home, Policy::Never)]);
        cache.set_consent_rules(ConsentRules { kept, default: Policy::AskHolder, webhook: None });
        assert_eq!(cache.consent_policy(home), Policy::Never);
        assert_eq!(cache.consent_policy(HomeAddress("fd00::9".parse().expect("an address"))), Policy::AskHolder);
        cache.set_consent(home, Policy::AskTaker);
        assert_eq!(cache.consent_policy(home), Policy::AskTaker);
        cache.release(home, Now::default()).expect("it is reserved");
        assert_eq!(cache.consent_policy(home), Policy::Never);
    }
}
