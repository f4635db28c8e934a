//! Consent at the binding cache: which policy a home address has, and what a wish under it comes to (`consent`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::now::Now;
use crate::steering::cache::{BindingCache, lock};
use crate::steering::care_of::HomeAddress;
use crate::steering::consent::{ConsentEvent, NoSuchQuestion, Policy, Question, QuestionId, Wish, Withheld};
use crate::steering::home::HomeState;

/// Which policy is in force where, unless a home address was reserved with one of its own.
#[derive(Clone, Debug, Default)]
pub struct ConsentRules {
    /// Of home addresses that are kept under a name.
    pub kept: HashMap<HomeAddress, Policy>,
    /// Of all others.
    pub default: Policy,
}

impl BindingCache {
    /// Goes by these rules from now on. What has moved has moved, and questions that are open stay open.
    pub fn set_consent_rules(&self, rules: ConsentRules) {
        self.consent_rules.store(Arc::new(rules));
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

    /// Whether flows may go where they are wished to; those that are there already may.
    ///
    /// # Errors
    /// Why they may not, or not yet: then nothing may be changed.
    pub fn consent_to(&self, wish: &Wish<'_>, now: Now) -> Result<(), Withheld> {
        let (mut policy, mut flows) = (Policy::AnyoneWithKey, Vec::new());
        for &flow in wish.flows {
            let Some(found) = self.find(flow.0) else { continue };
            let state = found.state();
            let own = state.consent.clone().unwrap_or_else(|| self.configured_policy(flow.0));
            if own != Policy::AnyoneWithKey && !state.is_at(wish.taker) {
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
    pub(crate) fn consent_at(&self, state: &HomeState, wish: &Wish<'_>, now: Now) -> Result<(), Withheld> {
        let [(home, _)] = *wish.flows else { return Ok(()) };
        let policy = state.consent.clone().unwrap_or_else(|| self.configured_policy(home));
        if policy == Policy::AnyoneWithKey || state.is_at(wish.taker) { Ok(()) } else { self.ask_for_consent(wish, &policy, now) }
    }

    fn ask_for_consent(&self, wish: &Wish<'_>, policy: &Policy, now: Now) -> Result<(), Withheld> {
        let outcome = lock(&self.consents).ask(wish, policy, now.mono);
        self.counters().note_consent(&outcome);
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

    /// The oldest event about a question that was not taken yet.
    pub fn poll_consent_event(&self) -> Option<ConsentEvent> {
        lock(&self.consents).poll_event()
    }
}
