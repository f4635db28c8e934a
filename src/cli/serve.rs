//! `flowsteer serve`: puts the rooms together, starts their tasks, and stops them.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ipnet::IpNet;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, watch};

use crate::access::Access;
use crate::cli::access::{access_list, access_told, operators, publish_rules};
use crate::cli::cameras::Cameras;
use crate::cli::config_file::{ConfigFile, ConfigWatch};
use crate::cli::consents::{consent_rules, heed, vouch};
use crate::cli::identity;
use crate::cli::mdns::{Listeners, Mdns};
use crate::cli::reload::{Reload, Reread, SetLevel, keep_names};
use crate::cli::signals::{self, Signals};
use crate::cli::{log, supervisor};
use crate::config::{CareOfTest, Config, DeviceConfig, JoinDefault, Loaded, PrimeRate, ProvisionedKey, Unbound};
use crate::dataplane::{DataPlane, DataPlaneSettings};
use crate::http::api::{Api, ApiSettings};
use crate::http::connection::Limits;
use crate::http::devices::{Devices, NamedDevice};
use crate::http::event::{Announcer, ApiEvent};
use crate::http::page::PICTURES_PER_ADDRESS;
use crate::http::webhook::Vouchers;
use crate::library::live::LiveSettings;
use crate::library::watch::Watch;
use crate::library::{CacheSettings, Change, ChangeKind, Library, TitlePath};
use crate::mobility::server::Listener;
use crate::mobility::{Provisioned, Responder, ResponderSettings};
use crate::net::{Connections, Door, Refusals, Shares, labels, media_source, now, process};
use crate::now::Mono;
use crate::playback::presentation::PresentationSettings;
use crate::playback::{Command, PresentationId, PresentationState, Stage};
use crate::quantities::FlowLabel;
use crate::rtsp::message::MessageLimits;
use crate::rtsp::publishers::Publishers;
use crate::rtsp::service::{HomeNames, RtspSettings, Service};
use crate::rtsp::session::Sessions;
use crate::steering::{BindingCache, DropReason, Event, EventKind, HomeAddress, Join, JoinWay, Key, Rules, Spi, SteeringSettings};
use crate::store::{FileStore, NoStore, Store, unique_local};
use crate::tls::{Identity, keep_current};

/// Serves until a signal says otherwise; `reread` reads the configuration again, also when `file` has changed.
///
/// # Errors
/// What keeps it from starting.
pub fn run(loaded: &Loaded, reread: Reread, file: Option<Arc<ConfigFile>>) -> anyhow::Result<()> {
    let config = &loaded.config;
    // Each shard has a heap, and those that answer requests share one.
    process::keep_little_memory(shards(config) + 1);
    let set_level = log::start(&config.log)?;
    if let Err(error) = process::forbid_dumps() {
        tracing::warn!("other processes of this user may read this one's memory: {error}");
    }
    match process::raise_descriptor_limit() {
        Ok(limit) if limit < config.rtsp.connections as u64 => {
            tracing::warn!("{limit} file descriptors are allowed, rtsp.connections is {}", config.rtsp.connections);
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("the limit of file descriptors stays as it is: {error}"),
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(serve(config, reread, file, set_level));
    // Somebody may still be waiting for a disk.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: &Config, reread: Reread, file: Option<Arc<ConfigFile>>, set_level: SetLevel) -> anyhow::Result<()> {
    let hang_up = signals::hang_up()?;
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5])
        .context("metrics")?
        .install_recorder()
        .context("metrics")?;
    let rendered = recorder.clone();
    let store = store(config)?;
    let mut kept = store.load()?;
    let prefix = match config.steering.home_prefix.or(kept.home_prefix) {
        Some(prefix) => prefix,
        None => {
            let mut drawn = [0; 5];
            getrandom::fill(&mut drawn)?;
            unique_local(drawn)
        }
    };
    if config.steering.home_prefix.is_none() {
        kept.home_prefix = Some(prefix);
    }

    let settings = data_plane_settings(config);
    let prepared = DataPlane::prepare(&settings).with_context(|| format!("RTP port {}", config.rtp.port))?;
    let director = prepared.director();
    let stage = Stage::new(director);
    let steering_changed = Arc::new(Notify::new());
    let steering = Arc::new(steering(config, prefix, &stage, &steering_changed));
    keep_names(config, &steering, &mut kept)?;
    steering.set_consent_rules(consent_rules(config, &steering));
    let vouchers = Arc::new(Vouchers::default());
    vouch(config, &vouchers).context("steering.consent_ca")?;
    store.save(&kept)?;
    let connections = Arc::new(Connections::default());
    let data_plane = prepared.start(&settings, &steering, &connections, now)?;
    let lateness = data_plane.lateness();

    let path = config.library.path.clone();
    let cache = state_folder(config)?.map(|folder| CacheSettings { folder: folder.join("index"), made_by: build() });
    let library = tokio::task::spawn_blocking(move || Library::open_kept(&path, cache)).await?;
    let library = Arc::new(library.with_context(|| format!("library {}", config.library.path.display()))?);
    for (title, home) in clashes(&library, config) {
        tracing::warn!(%title, "the title cannot be opened: its path is that of the home address {home}");
    }
    let (stop, stopped) = watch::channel(false);
    let mut cameras = Cameras::new(Arc::clone(&library));
    if let Some(error) = cameras.replace(&config.camera).into_iter().next() {
        return Err(error);
    }
    let announcer = Announcer::default();
    let devices = Arc::new(Devices::default());
    let (watched, told) = (stage.clone(), announcer.clone());
    let watch_library = Watch::start(Arc::clone(&library), move |changes| changed(&watched, &told, &changes));
    if library.len() <= SMALL {
        let indexed = Arc::clone(&library);
        tokio::task::spawn_blocking(move || indexed.wait_indexed(INDEXED)).await?;
    }
    let indexed = Arc::clone(&library);
    std::thread::Builder::new().name("indexed".into()).spawn(move || {
        while !indexed.wait_indexed(A_DAY) {}
        // What reading the indexes took is needed no more.
        process::give_back_memory();
    })?;

    let listener = listen(config.rtsp.listen).with_context(|| format!("rtsp.listen {}", config.rtsp.listen))?;
    let rtsp = listener.local_addr()?;
    let rtsp_settings = rtsp_settings(config, data_plane.port());
    let names = rtsp_settings.homes.clone();
    let access = Arc::clone(&rtsp_settings.access);
    let refusals = Arc::new(Refusals::default());
    let publishers = Arc::new(publishers(config, &library, &connections));
    let service = Arc::new(Service {
        stage: stage.clone(),
        steering: Arc::clone(&steering),
        library: Arc::clone(&library),
        sessions: Sessions::default(),
        publishers: Arc::clone(&publishers),
        refusals: Arc::clone(&refusals),
        settings: rtsp_settings,
    });
    let signalling = Listener::bind(config.mobility.listen, config.mobility.raw).context("mobility.listen")?;
    let mobility_address = signalling.address();
    let signalling = signalling.start(Responder::new(Arc::clone(&steering), responder_settings(config)))?;
    let http_listener = listen(config.http.listen).with_context(|| format!("http.listen {}", config.http.listen))?;
    let http = http_listener.local_addr()?;
    let (mut rtsp_doors, mut http_doors): (Vec<Door>, Vec<Door>) = (vec![listener.into()], vec![http_listener.into()]);
    let identity = identity::files(config).map(Identity::open).transpose()?.map(Arc::new);
    let (mut rtsps, mut https) = (None, None);
    if let Some(identity) = &identity {
        if let Some(address) = config.tls.address(config.rtsp.tls_listen, RTSPS) {
            let listener = listen(address).with_context(|| format!("rtsp.tls_listen {address}"))?;
            rtsps = Some(listener.local_addr()?);
            rtsp_doors.push(Door::secured(listener, Arc::new(identity.server_config(&[])?)));
        }
        if let Some(address) = config.tls.address(config.http.tls_listen, HTTPS) {
            let listener = listen(address).with_context(|| format!("http.tls_listen {address}"))?;
            https = Some(listener.local_addr()?);
            http_doors.push(Door::secured(listener, Arc::new(identity.server_config(&["http/1.1"])?)));
        }
    }
    if config.http.insecure_keys {
        tracing::warn!(
            "http.insecure_keys: keys of home addresses, and operators' passwords and logins, go without TLS, and can be read on their way"
        );
    }
    let api = Arc::new(Api {
        stage: stage.clone(),
        steering: Arc::clone(&steering),
        library: Arc::clone(&library),
        announcer: announcer.clone(),
        devices: Arc::clone(&devices),
        refusals,
        pictures: Arc::new(Shares::new(PICTURES_PER_ADDRESS)),
        metrics: Box::new(move || rendered.render() + &lateness.text()),
        settings: ApiSettings {
            operators: operators(config),
            access: Arc::clone(&access),
            rtsp_port: rtsp.port(),
            rtp_port: data_plane.port(),
            mobility_port: mobility_address.port(),
            mobility_native: config.mobility.raw,
            max_packet: config.rtp.mtu,
            transition: Duration::from_millis(config.steering.transition_ms),
            context: Duration::from_secs(config.steering.context_s),
            join: join(config),
            media_source: config.steering.media_source,
            limits: Limits {
                connections: config.http.connections,
                connections_per_address: config.http.connections_per_address,
                write_timeout: Duration::from_secs(config.http.write_timeout_s),
                ..Limits::default()
            },
            insecure_keys: config.http.insecure_keys,
            devices: config.device.iter().map(named_device).collect(),
        },
    });
    let http_task = tokio::spawn(crate::http::server::serve(http_doors, api, stopped.clone()));
    let rtsp_task = tokio::spawn(crate::rtsp::server::serve(rtsp_doors, Arc::clone(&service), Arc::clone(&connections), stopped));
    let identity_task = identity.clone().map(|identity| tokio::spawn(keep_current(identity)));
    let upkeep_task = tokio::spawn(keep_metrics(recorder));
    let tending = tend(Arc::clone(&steering), announcer.clone(), Arc::clone(&vouchers), Arc::clone(&devices), steering_changed);
    let steering_task = tokio::spawn(tending);
    let session_task = tokio::spawn(announce_sessions(stage.clone(), Arc::clone(&steering), announcer, devices));

    let listeners = Listeners { rtsp, rtsps, http, https, mobility: mobility_address, mobility_native: config.mobility.raw };
    let mut mdns = Mdns::new(&listeners, prefix);
    let announced = mdns.replace(&config.mdns);

    // Whoever reads that it is ready may send one.
    let signals = Signals::hear(hang_up)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "rtsp  rtsp://{rtsp}/")?;
    writeln!(out, "rtp   {}-{}", data_plane.port(), data_plane.port() + 1)?;
    writeln!(out, "http  http://{http}/")?;
    if let Some(rtsps) = rtsps {
        writeln!(out, "rtsps  rtsps://{rtsps}/")?;
    }
    if let Some(https) = https {
        writeln!(out, "https  https://{https}/")?;
    }
    writeln!(out, "mobility  udp {mobility_address}{}", if config.mobility.raw { ", ipv6 next header 135" } else { "" })?;
    if let Some(name) = announced {
        writeln!(out, "mdns  {name}")?;
    }
    writeln!(out, "library  {} titles in {}{}", library.len(), config.library.path.display(), progress(&library))?;
    for line in access_told(config) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    drop(out);

    let (running, steering) = (config.clone(), Arc::clone(&steering));
    let reload = Reload {
        reread,
        running,
        steering,
        names,
        store,
        kept,
        signalling,
        cameras,
        publishers,
        access,
        mdns,
        identity,
        vouchers,
        set_level,
    };
    let watch_config = ConfigWatch::start(file.as_ref().filter(|_| config.serve.watch));
    signals::wait(signals, &watch_library, watch_config, reload, &stage).await?;
    supervisor::stopping(Duration::ZERO);
    let _ = stop.send(true);
    upkeep_task.abort();
    if let Some(task) = identity_task {
        task.abort();
    }
    steering_task.abort();
    session_task.abort();
    // BYE comes first; connections get a moment to take it. The watch is left to itself: it may be in the middle of a rescan.
    tokio::task::spawn_blocking(move || data_plane.stop()).await?;
    std::thread::spawn(move || drop(watch_library));
    drain(&connections).await;
    rtsp_task.abort();
    http_task.abort();
    Ok(())
}

/// The port of RTSP over TLS, unless configured: 322 is the registered one (RFC 7826 section 22.14), as 554 is of 8554.
const RTSPS: u16 = 8322;
/// The port of HTTP over TLS, unless configured.
const HTTPS: u16 = 8443;
/// A library of so many titles is waited for …
const SMALL: usize = 1000;
/// … and may take so long to be indexed before it is served all the same.
const INDEXED: Duration = Duration::from_millis(150);
const A_DAY: Duration = Duration::from_secs(86_400);

/// How far the index is, where it is not whole.
fn progress(library: &Library) -> String {
    let (indexed, all) = (library.indexed(), library.len());
    if indexed == all { String::new() } else { format!(", indexing: {indexed} of {all}") }
}

/// Waits until all connections have sent what waits for them, but not for long.
async fn drain(connections: &Connections) {
    const PATIENCE: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_millis(5);
    let drained = async {
        while !connections.are_drained() {
            tokio::time::sleep(TICK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, drained).await.is_err() {
        tracing::debug!("some connections did not take their last packets");
    }
}

fn store(config: &Config) -> anyhow::Result<Box<dyn Store>> {
    match state_folder(config)? {
        Some(folder) => Ok(Box::new(FileStore::open(&folder)?)),
        None => Ok(Box::new(NoStore)),
    }
}

/// This build: its version, and the size and time of the binary.
fn build() -> String {
    let binary = std::env::current_exe().and_then(std::fs::metadata);
    let stamp = binary.map(|binary| (binary.size(), binary.mtime(), binary.mtime_nsec())).unwrap_or_default();
    format!("{} {stamp:?}", env!("CARGO_PKG_VERSION"))
}

/// Where something is kept; `None` where nothing is.
fn state_folder(config: &Config) -> anyhow::Result<Option<PathBuf>> {
    let folder = match &config.state.dir {
        Some(folder) if folder.as_path() == Path::new("none") => return Ok(None),
        Some(folder) => folder.clone(),
        None => {
            let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
            let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
            home.context("neither state.dir nor XDG_STATE_HOME nor HOME is set")?.join("flowsteer")
        }
    };
    Ok(Some(folder))
}

fn steering(config: &Config, prefix: ipnet::Ipv6Net, stage: &Stage, changes: &Arc<Notify>) -> BindingCache {
    let settings = SteeringSettings {
        default_window: Duration::from_millis(config.steering.transition_ms),
        max_window: Duration::from_millis(config.steering.max_window_ms),
        max_bindings: config.mobility.max_bids,
        max_lifetime: Duration::from_secs(config.mobility.max_lifetime_s),
        max_reservation: Duration::from_secs(config.mobility.reserve_s),
        trusted_care_of: trusted(config),
        max_label: max_label(),
        unbound_prefixes: match config.steering.unbound {
            Unbound::Home => config.steering.unbound_prefixes.clone(),
            Unbound::Pause => Vec::new(),
        },
        rules: rules(config),
        ..SteeringSettings::new(prefix)
    };
    let (stage, changes) = (stage.clone(), Arc::clone(changes));
    let random = |octets: &mut [u8]| getrandom::fill(octets).expect("the system gives random octets once it has given some");
    let changed = move |_: HomeAddress, player: Option<u64>| {
        if let Some(id) = player {
            stage.tell(Command::RouteChanged { presentation: PresentationId(id) });
        }
        changes.notify_one();
    };
    BindingCache::new(settings, Box::new(random), Box::new(changed))
}

/// Where operators may send flows without proof: whoever names a device in the configuration vouches for its address.
fn trusted(config: &Config) -> Vec<IpNet> {
    let devices = config.device.iter().map(|device| IpNet::from(device.care_of.ip()));
    config.steering.trusted_care_of.iter().copied().chain(devices).collect()
}

fn named_device(device: &DeviceConfig) -> NamedDevice {
    NamedDevice { name: device.name.clone(), care_of: device.care_of }
}

/// What of the signalling steering goes by, and may change.
pub(super) fn rules(config: &Config) -> Rules {
    let mobility = &config.mobility;
    Rules {
        denied_care_of: mobility.deny.clone(),
        max_keys: mobility.max_sas,
        max_homes_per_identity: mobility.max_homes_per_identity,
        one_flow_per_home: mobility.one_flow_per_home,
        rtsp_peers_are_proven: mobility.care_of_test == CareOfTest::Auto,
    }
}

/// What the signalling itself goes by.
pub(super) fn responder_settings(config: &Config) -> ResponderSettings {
    let provisioned = |key: &ProvisionedKey| Provisioned { spi: Spi(key.spi), nai: key.nai.clone(), key: Key::new(*key.key.expose()) };
    ResponderSettings {
        keys: config.mobility.keys.iter().map(provisioned).collect(),
        close_enough: Duration::from_secs(config.mobility.close_enough_s),
        remote_homes: config.mobility.remote_homes,
        max_lifetime: Duration::from_secs(config.mobility.max_lifetime_s),
        join: join(config),
        media_source: config.steering.media_source,
        media_source_for_loopback: Some(media_source(None, std::net::Ipv6Addr::LOCALHOST.into())),
    }
}

fn shards(config: &Config) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if config.data.shards == 0 { processors.saturating_sub(1).max(1) } else { config.data.shards }
}

fn data_plane_settings(config: &Config) -> DataPlaneSettings {
    DataPlaneSettings {
        port: config.rtp.port,
        shards: shards(config),
        max_packet: config.rtp.mtu,
        rtx: Duration::from_millis(config.rtp.rtx_ms),
        max_presentations: config.data.presentations,
        max_of_network: config.data.presentations_per_address,
        burst: config.rtp.burst,
        spread: Duration::from_millis(config.rtp.spread_ms),
        dscp_video: config.rtp.dscp_video,
        dscp_audio: config.rtp.dscp_audio,
        presentation: PresentationSettings {
            max_prime: Duration::from_millis(config.steering.max_prime_ms),
            max_window: Duration::from_millis(config.steering.max_window_ms),
            linger: Duration::from_secs(config.steering.linger_s),
        },
        corrupt_label: None,
    }
}

fn rtsp_settings(config: &Config, rtp_port: u16) -> RtspSettings {
    let homes = HomeNames::default();
    homes.replace(home_titles(config));
    RtspSettings {
        message: MessageLimits { header: config.rtsp.header_bytes, body: config.rtsp.body_bytes },
        request_timeout: Duration::from_secs(config.rtsp.request_timeout_s),
        connections: config.rtsp.connections,
        connections_per_address: config.rtsp.connections_per_address,
        sessions_per_connection: config.rtsp.sessions_per_connection,
        interleaved_queue: config.rtsp.interleaved_queue,
        session_timeout: Duration::from_secs(config.rtsp.session_timeout_s),
        rtp_port,
        max_packet: config.rtp.mtu,
        rtx: Duration::from_millis(config.rtp.rtx_ms),
        media_source: config.steering.media_source,
        join: join_way(config),
        prime_rate_milli: prime_rate(config),
        homes,
        access: Arc::new(Access::new(access_list(config))),
    }
}

fn publishers(config: &Config, library: &Library, connections: &Arc<Connections>) -> Publishers {
    Publishers::new(publish_rules(config), Arc::clone(library.live()), LiveSettings::default(), Arc::clone(connections))
}

/// Titles whose URL would be that of a home address, which has precedence.
fn clashes(library: &Library, config: &Config) -> Vec<(TitlePath, String)> {
    let home = |path: &TitlePath| {
        let name = path.as_str().strip_prefix("home/")?.split('/').next()?.to_owned();
        let is_home = name.parse::<std::net::Ipv6Addr>().is_ok() || config.home.iter().any(|home| home.name == name);
        is_home.then_some(name)
    };
    library.entries().iter().filter_map(|entry| Some((entry.path.clone(), home(&entry.path)?))).collect()
}

/// The greatest flow label that can be sent from here.
fn max_label() -> u32 {
    match labels::need_leases() {
        Ok(true) => {
            tracing::info!("a process holds a flow label for itself alone: labels are leased, from the lower half of them");
            labels::MAX_LEASED
        }
        // Without IPv6 there is nothing to label.
        Ok(false) | Err(_) => FlowLabel::MAX,
    }
}

/// The names of home addresses, and the titles that start there.
pub(super) fn home_titles(config: &Config) -> impl Iterator<Item = (String, Option<TitlePath>)> + '_ {
    config.home.iter().map(|home| (home.name.clone(), home.title.as_deref().and_then(TitlePath::new)))
}

const fn join_way(config: &Config) -> JoinWay {
    match config.steering.join {
        JoinDefault::Primed => JoinWay::Primed,
        JoinDefault::Aligned => JoinWay::Aligned,
        JoinDefault::AtOnce => JoinWay::AtOnce,
    }
}

fn join(config: &Config) -> Join {
    let rate = prime_rate(config);
    let unknown = Join::default();
    Join { way: join_way(config), rate_milli: rate.unwrap_or(unknown.rate_milli), fixed: rate.is_some(), ..unknown }
}

const fn prime_rate(config: &Config) -> Option<u16> {
    match config.steering.prime_rate {
        PrimeRate::Auto => None,
        PrimeRate::Fixed { milli } => Some(milli),
    }
}

fn changed(stage: &Stage, announcer: &Announcer, changes: &[Change]) {
    for change in changes {
        tracing::info!(title = %change.path, change = ?change.kind, "the library has changed");
        announcer.tell(ApiEvent::from(change));
        if change.kind != ChangeKind::Appeared {
            stage.tell(Command::EndTitle { title: change.path.clone() });
        }
    }
}

/// Both families on one socket where the address is the unspecified one of IPv6.
fn listen(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        socket2::SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.bind(address)?;
    socket.listen(1024)
}

/// Sums up what histograms have been given: until then every sample is kept, and nobody may ever ask for the metrics.
async fn keep_metrics(recorder: metrics_exporter_prometheus::PrometheusHandle) {
    const INTERVAL: Duration = Duration::from_secs(5);
    loop {
        tokio::time::sleep(INTERVAL).await;
        recorder.run_upkeep();
    }
}

/// Ends windows, lifetimes and silence when they are over. `changed` is told when there may be something to do before.
async fn tend(steering: Arc<BindingCache>, announcer: Announcer, vouchers: Arc<Vouchers>, devices: Arc<Devices>, changed: Arc<Notify>) {
    /// Changes are looked at so often at most.
    const TICK: Duration = Duration::from_millis(5);
    loop {
        let now = now();
        if steering.poll_timeout().is_some_and(|deadline| deadline <= now.mono) {
            steering.handle_timeout(now);
        }
        while let Some(event) = steering.poll_event() {
            tracing::debug!(?event, "steering");
            match event.kind {
                EventKind::Moving { .. } => handover("move", &event),
                EventKind::Forked { .. } => handover("fork", &event),
                _ => {}
            }
            if let (EventKind::Bound | EventKind::Moving { .. } | EventKind::Forked { .. }, Some(id)) = (event.kind, event.player) {
                devices.changed(PresentationId(id));
            }
            announcer.tell(ApiEvent::from(&event));
        }
        while let Some(event) = steering.poll_consent_event() {
            heed(&event, &steering, &announcer, &vouchers);
        }
        let pause = pause(steering.poll_timeout(), now.mono);
        if tokio::time::timeout(pause, changed.notified()).await.is_ok() {
            tokio::time::sleep(TICK.min(pause)).await;
        }
    }
}

/// How long there is nothing to do, unless something changes.
fn pause(deadline: Option<Mono>, now: Mono) -> Duration {
    /// Nothing should need it; whoever forgot to tell of a change is late by this.
    const LONGEST: Duration = Duration::from_secs(1);
    deadline.map_or(LONGEST, |deadline| deadline.since(now).clamp(Duration::from_millis(1), LONGEST))
}

fn handover(kind: &'static str, event: &Event) {
    metrics::counter!("flowsteer_handovers_total", "kind" => kind).increment(1);
    // What it came to is told when the new device has had its first packet.
    tracing::debug!(home = %event.home, kind, "hand-over");
}

/// Tells listeners what becomes of presentations, and what the filter drops; remembers devices.
async fn announce_sessions(stage: Stage, steering: Arc<BindingCache>, announcer: Announcer, devices: Arc<Devices>) {
    const INTERVAL: Duration = Duration::from_millis(500);
    let mut known: HashMap<PresentationId, PresentationState> = HashMap::new();
    let mut dropped: HashMap<DropReason, u64> = HashMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        for id in devices.take_changed() {
            if let Ok(snapshot) = stage.snapshot(id).await {
                devices.note(&snapshot, now().mono);
            }
        }
        if !announcer.is_heard(now().mono) {
            known.clear();
            dropped.clear();
            continue;
        }
        let Ok(snapshots) = stage.snapshots().await else { continue };
        let tell = |id: &PresentationId, title: Option<&str>, state: &str| {
            announcer.tell(ApiEvent { name: "session", data: json!({ "session": id.to_string(), "title": title, "state": state }) });
        };
        for snapshot in &snapshots {
            if known.insert(snapshot.id, snapshot.state) != Some(snapshot.state) {
                tell(&snapshot.id, Some(snapshot.title.path.as_str()), snapshot.state.as_str());
            }
        }
        known.retain(|id, _| {
            let lives = snapshots.iter().any(|snapshot| snapshot.id == *id);
            if !lives {
                tell(id, None, "ended");
            }
            lives
        });
        for (reason, count) in steering.dropped() {
            let before = dropped.insert(reason, count).unwrap_or(count);
            if count > before {
                announcer.tell(ApiEvent { name: "drop", data: json!({ "reason": reason.as_str(), "packets": count - before }) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_is_looked_at_when_something_ends_and_seldom_otherwise() {
        let at = |millis| Mono::default() + Duration::from_millis(millis);
        for (deadline, millis) in [(None, 1000), (Some(at(5300)), 300), (Some(at(5000)), 1), (Some(at(10)), 1), (Some(at(90_000)), 1000)] {
            assert_eq!(pause(deadline, at(5000)), Duration::from_millis(millis), "{deadline:?}");
        }
    }

    #[test]
    fn a_title_in_the_place_of_a_home_address_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["home/wall/a.mp4", "home/wall.mp4", "home/fd00::1/b.mp4", "home/hall/c.mp4", "wall/d.mp4"] {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().expect("in a folder")).expect("made");
            std::fs::write(file, b"noise").expect("written");
        }
        let mut config = Config::default();
        config.home.push(crate::config::HomeConfig { name: "wall".into(), ..Default::default() });
        let library = Library::open(folder.path()).expect("opens");
        let found: Vec<String> = clashes(&library, &config).into_iter().map(|(title, _)| title.to_string()).collect();
        assert_eq!(found, ["home/fd00::1/b.mp4", "home/wall/a.mp4"]);
    }
}
