//! Consent in a running server: which policies are in force, and what is done about questions.

use std::sync::Arc;

use crate::config::{Config, Consent, HomeConfig};
use crate::http::event::{Announcer, ApiEvent};
use crate::http::webhook::{self, Vouchers};
use crate::net::now;
use crate::quantities::MediaKind;
use crate::steering::consent::{Became, ConsentEvent, Decider, Pin};
use crate::steering::{BindingCache, ConsentRules, Policy};
use crate::tls::{ClientError, client_config};

/// The policies of a configuration whose names are kept already.
pub fn consent_rules(config: &Config, steering: &BindingCache) -> ConsentRules {
    let default = policy(config.steering.consent, None, config.steering.consent_webhook.as_deref());
    let webhook = config.steering.consent_webhook.as_deref().map(Into::into);
    let mut rules = ConsentRules { default, webhook, ..ConsentRules::default() };
    for home in &config.home {
        let Some(policy) = policy_of(home, config) else { continue };
        let names = [home.name.clone(), format!("{}.{}", home.name, MediaKind::Audio), format!("{}.{}", home.name, MediaKind::Text)];
        rules.kept.extend(names.iter().filter_map(|name| steering.named(name)).map(|address| (address, policy.clone())));
    }
    rules
}

fn policy_of(home: &HomeConfig, config: &Config) -> Option<Policy> {
    let webhook = home.webhook.as_deref().or(config.steering.consent_webhook.as_deref());
    home.consent.map(|consent| policy(consent, home.pin.as_ref().map(|pin| pin.expose()), webhook))
}

/// What the rules of the configuration rule out lets nobody pass.
fn policy(consent: Consent, pin: Option<&str>, webhook: Option<&str>) -> Policy {
    match consent {
        Consent::AnyoneWithKey => Policy::AnyoneWithKey,
        Consent::AskHolder => Policy::AskHolder,
        Consent::AskTaker => Policy::AskTaker,
        Consent::Never => Policy::Never,
        Consent::Pin => pin.map_or(Policy::Never, |pin| Policy::Pin(Pin::new(pin))),
        Consent::Webhook => webhook.map_or(Policy::Never, |url| Policy::Webhook(url.into())),
    }
}

/// Takes services for who they are by the file that is configured.
///
/// # Errors
/// It cannot be used: then those who vouched before do still.
pub fn vouch(config: &Config, vouchers: &Vouchers) -> Result<(), ClientError> {
    vouchers.set(config.steering.consent_ca.as_deref().map(client_config).transpose()?);
    Ok(())
}

/// Tells what became of a question, and asks the service that decides it, if one does.
pub fn heed(event: &ConsentEvent, steering: &Arc<BindingCache>, announcer: &Announcer, vouchers: &Arc<Vouchers>) {
    let question = event.question.clone();
    tracing::info!(question = %question.id, taker = %question.taker, way = question.way.as_str(), became = ?event.became, "consent");
    announcer.tell(ApiEvent::of_consent(event, steering, now().mono));
    let (Decider::Webhook(url), Became::Asked) = (question.decider.clone(), event.became) else { return };
    let (steering, vouchers) = (Arc::clone(steering), Arc::clone(vouchers));
    // As many at a time as questions may be open.
    tokio::spawn(async move {
        let yes = webhook::allows(&url, &vouchers, &question, &steering, now()).await;
        // It may have lapsed meanwhile.
        let _ = steering.answer_question(question.id, yes, now());
    });
}
