//! What differs between the configuration that runs and one that was read again.

use crate::config::Config;
use crate::config::layers::keys;

/// Keys that a running server takes over. `access`, `camera`, `home`, `mobility.keys`, `publish` and `users` stand for their entries.
pub(super) const LIVE: &[&str] = &[
    "access",
    "camera",
    "home",
    "http.session_max_s",
    "http.session_s",
    "log.level",
    "mdns.enabled",
    "mdns.interfaces",
    "mdns.name",
    "mobility.care_of_test",
    "mobility.close_enough_s",
    "mobility.deny",
    "mobility.keys",
    "mobility.max_homes_per_identity",
    "mobility.max_sas",
    "mobility.one_flow_per_home",
    "mobility.remote_homes",
    "publish",
    "rtsp.basic",
    "rtsp.digest",
    "serve.drain_s",
    "steering.consent",
    "steering.consent_ca",
    "steering.consent_webhook",
    "users",
];

/// The keys that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that a running server takes over.
    pub live: Vec<String>,
    /// Those that need a restart.
    pub restart: Vec<String>,
}

impl Config {
    /// What differs in `again`.
    pub fn changes(&self, again: &Self) -> Changes {
        let tables = [self, again].map(|config| toml::Table::try_from(config).unwrap_or_default());
        let value = |table: usize, key: &str| {
            let (section, name) = key.split_once('.')?;
            tables[table].get(section)?.get(name).cloned()
        };
        let mut differ: Vec<String> = keys().into_keys().filter(|key| value(0, key) != value(1, key)).collect();
        // These are not written out.
        differ.extend((self.http.tokens != again.http.tokens).then(|| "http.tokens".to_owned()));
        differ.extend((self.home != again.home).then(|| "home".to_owned()));
        differ.extend((self.device != again.device).then(|| "device".to_owned()));
        differ.extend((self.publish != again.publish).then(|| "publish".to_owned()));
        differ.extend((self.users != again.users).then(|| "users".to_owned()));
        differ.extend((self.access != again.access).then(|| "access".to_owned()));
        differ.extend((self.camera != again.camera).then(|| "camera".to_owned()));
        differ.extend((self.mobility.keys != again.mobility.keys).then(|| "mobility.keys".to_owned()));
        let (live, restart) = differ.into_iter().partition(|key| LIVE.contains(&key.as_str()));
        Changes { live, restart }
    }

    /// The configuration that runs once the live part of `again` has been taken over.
    #[must_use]
    pub fn taking_over(&self, again: &Self) -> Self {
        let mut running = self.clone();
        running.home.clone_from(&again.home);
        running.camera.clone_from(&again.camera);
        running.publish.clone_from(&again.publish);
        running.users.clone_from(&again.users);
        running.access.clone_from(&again.access);
        running.rtsp.digest = again.rtsp.digest;
        running.rtsp.basic = again.rtsp.basic;
        running.http.session_s = again.http.session_s;
        running.http.session_max_s = again.http.session_max_s;
        running.log.level.clone_from(&again.log.level);
        running.mdns.clone_from(&again.mdns);
        running.serve.drain_s = again.serve.drain_s;
        running.steering.consent = again.steering.consent;
        running.steering.consent_ca.clone_from(&again.steering.consent_ca);
        running.steering.consent_webhook.clone_from(&again.steering.consent_webhook);
        running.mobility = crate::config::MobilityConfig {
            listen: self.mobility.listen,
            raw: self.mobility.raw,
            max_bids: self.mobility.max_bids,
            max_lifetime_s: self.mobility.max_lifetime_s,
            reserve_s: self.mobility.reserve_s,
            ..again.mobility.clone()
        };
        running
    }
}
