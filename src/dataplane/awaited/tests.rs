//! Whose a datagram is at an address that has made many SETUPs, against looking through all of them, and what it costs.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::dataplane::endpoints::{Endpoints, Origin};
use crate::playback::report;

/// What is heard, by looking through all.
fn hear(few: &mut Few, known: Option<Endpoint>, number: u16, port: Port, datagram: &[u8], now: Mono) -> Origin {
    let report = port == Port::Rtcp && report::is_compound(datagram);
    if let Some(endpoint) = known {
        few.settle_branch(endpoint.branch, port, report);
        return Origin::Branch(endpoint);
    }
    if few.settle_at(port, number) {
        return Origin::SetUp;
    }
    let about = if report { report::reported_sources(datagram) } else { SmallVec::new() };
    let in_order = datagram.len() <= 12 && datagram.first().is_some_and(|first| first >> 6 == 2);
    few.learn(port, number, &about, in_order, now).map_or(Origin::Nobody, Origin::Learned)
}

fn address() -> IpAddr {
    Ipv6Addr::LOCALHOST.into()
}

fn home(flow: u16) -> HomeAddress {
    HomeAddress(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, flow))
}

fn told(presentation: u64, session: u64, flow: u16, number: u16) -> Told {
    let ports = Ports { rtp: number, rtcp: number + 1 };
    Told { presentation: PresentationId(presentation), home: home(flow), ssrc: Ssrc(flow.into()), holder: Holder(session), ports }
}

fn report_about(flows: &[u16]) -> Vec<u8> {
    let blocks = flows.iter().flat_map(|flow| [&u32::from(*flow).to_be_bytes()[..], &[0; 20]].concat());
    let length = 1 + 6 * flows.len() as u8;
    [0x80 | flows.len() as u8, 201, 0, length, 0, 0, 0, 1].into_iter().chain(blocks).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Expect { session: u64, flow: u16, number: u16 },
    Retain { presentation: u64, without: u64 },
    Ports { flow: u16, branch: u64, number: (u16, u16) },
    Hear { number: u16, port: Port, kind: u8, flows: Vec<u16>, branch: Option<u64> },
    Wait { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || 0..6_u16;
    let port = || prop_oneof![Just(Port::Rtp), Just(Port::Rtcp)];
    let step = prop_oneof![
        8 => (0..5_u64, 0..6_u16, number()).prop_map(|(session, flow, number)| Step::Expect { session, flow, number }),
        1 => (0..2_u64, 0..4_u64).prop_map(|(presentation, without)| Step::Retain { presentation, without }),
        3 => (0..4_u16, 0..5_u64, (number(), number())).prop_map(|(flow, branch, number)| Step::Ports { flow, branch, number }),
        8 => (number(), port(), 0..4_u8, prop::collection::vec(0..5_u16, 0..3), prop::option::weighted(0.2, 0..5_u64))
            .prop_map(|(number, port, kind, flows, branch)| Step::Hear { number, port, kind, flows, branch }),
        1 => (1..80_u64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..100)
}

proptest! {
    #[test]
    fn whose_a_datagram_is_is_what_looking_through_all_of_them_says(steps in steps()) {
        let (mut few, endpoints) = (Few::default(), Endpoints::default());
        let mut now = Mono::default();
        for step in steps {
            match step {
                Step::Expect { session, flow, number } => {
                    // A flow is of one presentation, whoever takes it.
                    let told = told(u64::from(flow % 2), session, flow, number);
                    few.expect(told, now);
                    endpoints.expect(address(), told, now);
                }
                Step::Retain { presentation, without } => {
                    few.retain(PresentationId(presentation), |holder, _, _| holder.0 != without, now);
                    endpoints.retain(address(), PresentationId(presentation), |holder, _, _| holder.0 != without, now);
                }
                Step::Ports { flow, branch, number: (rtp, rtcp) } => {
                    let endpoint = Endpoint { presentation: PresentationId(0), home: home(flow), branch: BranchSerial(branch) };
                    let bound = Ports { rtp, rtcp };
                    prop_assert_eq!(endpoints.ports(address(), endpoint, bound), few.ports(endpoint, bound));
                }
                Step::Hear { number, port, kind, flows, branch } => {
                    let datagram = match kind {
                        0 => vec![0; 4],
                        1 => vec![0x80; 12],
                        2 => report_about(&flows),
                        _ => [0x80, 201, 0, 1, 0, 0, 0, 0].to_vec(),
                    };
                    let known = branch.map(|branch| Endpoint { presentation: PresentationId(0), home: home(0), branch: BranchSerial(branch) });
                    let at = (address(), number, port);
                    known.iter().for_each(|endpoint| endpoints.note(at, *endpoint));
                    let heard = endpoints.hear(SocketAddr::new(address(), number), port, &datagram, now);
                    known.iter().for_each(|endpoint| endpoints.forget(at, endpoint.branch));
                    // Of an address that awaits nothing a branch is a branch all the same.
                    prop_assert_eq!(heard, hear(&mut few, known, number, port, &datagram, now));
                }
                Step::Wait { seconds } => now += Duration::from_secs(seconds),
            }
            for presentation in [0, 1].map(PresentationId) {
                prop_assert_eq!(endpoints.expects(address(), presentation), few.expects(presentation));
            }
            prop_assert_eq!(endpoints.count(address()), Some(few.0.len()));
        }
    }
}

#[test]
fn a_flood_from_an_address_with_thousands_of_setups_costs_what_any_other_does() {
    let flood = |setups: u16| {
        let endpoints = Endpoints::default();
        for setup in 0..setups {
            endpoints.expect(address(), told(setup.into(), setup.into(), setup, 1024 + 2 * setup), Mono::default());
        }
        let datagrams = [vec![0; 4], vec![0x80; 12], report_about(&[60_000, 60_001])];
        let took = || {
            let begin = Instant::now();
            for number in 0..500_u16 {
                for datagram in &datagrams {
                    // Ports that nobody has told, and one that somebody has.
                    for number in [number, 1025] {
                        endpoints.hear(SocketAddr::new(address(), number), Port::Rtcp, datagram, Mono::default());
                    }
                }
            }
            begin.elapsed()
        };
        (0..5).map(|_| took()).min().expect("five")
    };
    let (few, many) = (flood(16), flood(20_000));
    assert!(many < few * 20, "{few:?} with 16, {many:?} with 20,000");
}
