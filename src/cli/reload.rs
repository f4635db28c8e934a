//! SIGHUP: the configuration is read again. What can change in a running server changes; the rest is named in the log.

use std::sync::Arc;

use crate::access::Access;
use crate::cli::access::{access_list, publish_rules};
use crate::cli::cameras::Cameras;
use crate::cli::consents::{consent_rules, vouch};
use crate::cli::mdns::Mdns;
use crate::cli::serve::{home_titles, responder_settings, rules};
use crate::config::{Config, Loaded};
use crate::http::webhook::Vouchers;
use crate::mobility::server::Service;
use crate::net::now;
use crate::quantities::MediaKind;
use crate::rtsp::publishers::Publishers;
use crate::rtsp::service::HomeNames;
use crate::steering::BindingCache;
use crate::store::{Kept, Store};
use crate::tls::Identity;
use anyhow::Context as _;

/// Reads the configuration again.
pub type Reread = Arc<dyn Fn() -> anyhow::Result<Loaded> + Send + Sync>;
/// Sets what is logged.
pub type SetLevel = Box<dyn Fn(&str) -> anyhow::Result<()> + Send + Sync>;

/// What may change while the server runs.
pub struct Reload {
    /// Reads the configuration again.
    pub reread: Reread,
    /// What is in force.
    pub running: Config,
    /// Where names are kept.
    pub steering: Arc<BindingCache>,
    /// What starts under names.
    pub names: HomeNames,
    /// What survives.
    pub store: Box<dyn Store>,
    /// … so far.
    pub kept: Kept,
    /// The mobility signalling.
    pub signalling: Service,
    /// The cameras.
    pub cameras: Cameras,
    /// Who may publish, and does.
    pub publishers: Arc<Publishers>,
    /// Who may play.
    pub access: Arc<Access>,
    /// What is announced.
    pub mdns: Mdns,
    /// Who the server is over TLS.
    pub identity: Option<Arc<Identity>>,
    /// Whom services are taken for that are asked for consent.
    pub vouchers: Arc<Vouchers>,
    /// Sets what is logged.
    pub set_level: SetLevel,
}

impl Reload {
    /// Reads the configuration again, and takes over what can be. One with errors changes nothing.
    pub fn run(&mut self) {
        if let Some(identity) = &self.identity {
            identity.reload_and_tell();
        }
        let loaded = match (self.reread)() {
            Ok(loaded) => loaded,
            Err(error) => {
                for line in format!("{error:#}").lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the configuration has errors: the one before stays in force");
                return;
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let changes = self.running.changes(&loaded.config);
        let left = match self.take_over(&loaded.config, &changes.live) {
            Ok(left) => left,
            Err(error) => {
                tracing::error!("the configuration could not be taken over: {error:#}");
                return;
            }
        };
        let taken: Vec<&str> = changes.live.iter().map(String::as_str).filter(|key| !left.contains(key)).collect();
        if !taken.is_empty() {
            tracing::info!("the configuration was read again: {} changed", taken.join(", "));
        }
        if !changes.restart.is_empty() {
            tracing::warn!("a restart is needed for {}", changes.restart.join(", "));
        }
        if changes.live.is_empty() && changes.restart.is_empty() {
            tracing::info!("the configuration was read again: nothing changed");
        }
    }

    /// Takes over what has changed; gives the keys that could not be, which stay as they were. Who may no more comes before what may fail.
    ///
    /// # Errors
    /// Nothing was taken over.
    fn take_over(&mut self, again: &Config, changed: &[String]) -> anyhow::Result<Vec<&'static str>> {
        let has = |key: &str| changed.iter().any(|changed| changed == key);
        // Also where only what is in the file has changed.
        vouch(again, &self.vouchers).context("steering.consent_ca")?;
        let mut running = self.running.taking_over(again);
        let mut left = Vec::new();
        let has_users = has("users") || has("rtsp.digest");
        let has_times = has("http.session_s") || has("http.session_max_s");
        if has_users || has_times || has("access") || has("rtsp.basic") {
            self.access.replace(access_list(again));
        }
        if has_users || has("publish") {
            self.publishers.replace(publish_rules(again));
        }
        if has("log.level")
            && let Err(error) = (self.set_level)(&again.log.level)
        {
            tracing::error!("log.level could not be taken over: {error:#}");
            running.log.level.clone_from(&self.running.log.level);
            left.push("log.level");
        }
        if has("home")
            && let Err(error) = self.take_names(again)
        {
            tracing::error!("home could not be taken over: {error:#}");
            running.home.clone_from(&self.running.home);
            left.push("home");
        }
        // Those that could not be there before may be now.
        for error in self.cameras.replace(&again.camera) {
            tracing::error!("{error:#}");
        }
        if changed.iter().any(|key| key.starts_with("mdns.")) {
            self.mdns.replace(&again.mdns);
        }
        self.running = running;
        if changed.iter().any(|key| key == "home" || key.starts_with("steering.consent")) {
            self.steering.set_consent_rules(consent_rules(&self.running, &self.steering));
        }
        if changed.iter().any(|key| key.starts_with("mobility.")) {
            self.steering.set_rules(rules(&self.running));
            self.signalling.set(responder_settings(&self.running));
        }
        Ok(left)
    }

    /// From now on home addresses have these names.
    fn take_names(&mut self, again: &Config) -> anyhow::Result<()> {
        let (before, after) = (names_of(&self.running), names_of(again));
        let kept = keep_names(again, &self.steering, &mut self.kept).and_then(|()| Ok(self.store.save(&self.kept)?));
        let (stay, go) = if kept.is_ok() { (&after, &before) } else { (&before, &after) };
        for gone in go.iter().filter(|name| !stay.contains(name)) {
            self.steering.forget_name(gone);
        }
        kept?;
        self.names.replace(home_titles(again));
        Ok(())
    }
}

/// The names of all home addresses that are kept: one for each kind of media of each configured name.
fn names_of(config: &Config) -> Vec<String> {
    let of_kinds = |name: &str| [name.to_owned(), format!("{name}.{}", MediaKind::Audio), format!("{name}.{}", MediaKind::Text)];
    config.home.iter().flat_map(|home| of_kinds(&home.name)).collect()
}

/// Gives each configured name its home addresses, the same as last time. The address of a name that is configured no more
/// waits for it.
pub fn keep_names(config: &Config, steering: &BindingCache, kept: &mut Kept) -> anyhow::Result<()> {
    let names = names_of(config);
    let given = steering.keep_all(names.iter().map(String::as_str), &kept.homes, now());
    kept.homes.extend(given.context("the home prefix has no address left for a name")?);
    Ok(())
}
