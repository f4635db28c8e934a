//! Flow labels where a process of the server's network namespace holds one for itself alone: then the kernel sends leased labels only.

// The request for an exclusive label.
#![allow(unsafe_code)]

use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::support::film::library;
use crate::support::namespaces::{Family, Host, Network};
use crate::support::scene::Scene;
use crate::support::server::{Operator, Server, title_url};
use crate::support::viewer::{Carriage, Viewer};
use crate::support::{SOON, skip, wait_for};

/// The greatest label that can be leased.
const MAX_LEASED: u32 = 0x7_ffff;

/// Holds `label` for itself alone as long as it lives.
struct Exclusive {
    _socket: UdpSocket,
}

impl Exclusive {
    fn hold(host: &Host, label: u32) -> Self {
        let socket = host.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).expect("a socket");
        // in6_flowlabel_req: destination, label, action get, share exclusive, flag create, expires, linger, padding.
        let mut request = Vec::from(Ipv6Addr::LOCALHOST.octets());
        request.extend(label.to_be_bytes());
        request.extend([0, 1]);
        for field in [1u16, 60, 6] {
            request.extend(field.to_ne_bytes());
        }
        request.extend([0; 4]);
        const IPV6_FLOWLABEL_MGR: libc::c_int = 32;
        let length = libc::socklen_t::try_from(request.len()).expect("32");
        // SAFETY: the kernel reads `length` octets from `request`.
        let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, request.as_ptr().cast(), length) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        Self { _socket: socket }
    }
}

/// Whether the kernel leases labels of the lower half only.
fn lease_lower_half_only(host: &Host, only: bool) {
    let setting = "/proc/sys/net/ipv6/flowlabel_state_ranges";
    host.run(|| std::fs::write(setting, if only { "1" } else { "0" })).expect("root may set it");
}

/// The labels of the packets that came last on each track are those that the server named.
fn assert_labelled(viewer: &Viewer) {
    assert_eq!(viewer.tracks.len(), 2);
    for track in &viewer.tracks {
        let before = track.packets().len();
        let labels = wait_for("more packets", SOON, || {
            let packets = track.packets();
            (packets.len() > before + 5).then(|| packets[before..].iter().map(|packet| packet.label).collect::<Vec<_>>())
        });
        // Over UDP and IPv6 each has one: none at all is not good enough.
        assert!(labels.iter().skip(1).all(|label| *label == Some(track.label)), "{}: {labels:x?} for {:x}", track.media, track.label);
    }
}

fn label_unavailable(operator: Operator<'_>) -> f64 {
    let text = operator.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("flowsteer_label_unavailable_total "));
    line.map_or(0.0, |count| count.parse().expect("a number"))
}

#[test]
fn labels_are_leased_from_the_start_where_they_have_to_be() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(error) => return skip(&format!("network namespaces cannot be made here ({error})")),
    };
    lease_lower_half_only(&network.server, true);
    let _held = Exclusive::hold(&network.server, 0x1234);
    let server = Server::start(&network.server, &library(), &[]);
    let url = title_url(&network.server, Family::V6, "countdown.mp4");
    let viewers: Vec<Viewer> = (0..4).map(|_| Viewer::watch(&network.a, &url, Carriage::Udp)).collect();
    for viewer in &viewers {
        assert!(viewer.tracks.iter().all(|track| (1..=MAX_LEASED).contains(&track.label)));
        assert_labelled(viewer);
    }
    assert_eq!(label_unavailable(Operator { host: &network.server }), 0.0);
    drop(server);
}

#[test]
fn a_label_that_cannot_be_leased_costs_the_label_and_no_packet() {
    let Some(scene) = Scene::set() else { return };
    let operator = scene.operator();
    let url = scene.url(Family::V6, "countdown.mp4");
    // Labels are drawn at random: some of these will be of the half that cannot be leased, some of the other.
    let mut viewers = Vec::new();
    let is_low = |viewer: &Viewer| viewer.tracks[0].label <= MAX_LEASED;
    while viewers.len() < 40 && (viewers.iter().all(is_low) || !viewers.iter().any(is_low)) {
        viewers.push(Viewer::watch(&scene.network.a, &url, Carriage::Udp));
    }
    viewers.iter().for_each(assert_labelled);
    assert_eq!(label_unavailable(operator), 0.0);
    lease_lower_half_only(&scene.network.server, true);
    let _held = Exclusive::hold(&scene.network.server, 0x1234);
    for viewer in &viewers {
        let track = &viewer.tracks[0];
        let before = track.packets().len();
        let packets = wait_for("packets go on", SOON, || Some(track.packets()).filter(|packets| packets.len() > before + 30));
        let expected = if is_low(viewer) { track.label } else { 0 };
        assert_eq!(packets.last().expect("some").label, Some(expected), "0x{:05x}", track.label);
        // Nothing was lost for it.
        track.units();
    }
    assert!(label_unavailable(operator) > 0.0, "it is counted");
}
