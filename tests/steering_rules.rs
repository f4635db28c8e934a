//! The rules of steering, one sentence each (`docs/signalling.md` sections 6 to 9).

mod steering_fixture;

use std::net::SocketAddr;
use std::time::Duration;

use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::{
    Authority, BindingCache, BindingId, CareOf, ConnectionId, DropReason, EndReason, EventKind, Expectation, Holder, HomeStatus, JoinWay,
    Mode, Owner, Proof, SteeringError, SteeringSettings, Update, Window,
};
use steering_fixture::*;

fn ended(world: &World, home: flowsteer::steering::HomeAddress) -> Vec<EndReason> {
    let mut gate = world.cache.gate(home).expect("reserved");
    gate.route().ended.iter().map(|ended| ended.reason).collect()
}

fn status(world: &World, home: flowsteer::steering::HomeAddress) -> HomeStatus {
    world.cache.home_view(home, world.now).expect("reserved").status
}

// Reservation

#[test]
fn a_reserved_home_address_is_of_the_pool_with_an_index_and_a_key_of_its_own() {
    let world = World::new();
    let reserve = |owner| {
        let request = flowsteer::steering::Reserve { owner, address: None, lifetime: None, media_source: source() };
        world.cache.reserve(&request, world.now).expect("reserved")
    };
    let (one, other) = (reserve(OWNER), reserve(OWNER));
    assert!(world.cache.is_home(one.home.0) && one.home != other.home && one.key != other.key && one.spi != other.spi);
    assert!((0x100..=0x7fff_ffff).contains(&one.spi.0));
    assert_eq!(one.validity_end, u64::MAX, "it lives as long as its owner");
    assert_eq!(world.cache.homes_of(OWNER), [one.home, other.home]);
    assert!(world.cache.is_home_key(one.home, &one.key, world.now) && !world.cache.is_home_key(one.home, &other.key, world.now));
}

/// A cache that notes which presentations are told of changes.
fn listening() -> (World, std::sync::Arc<std::sync::Mutex<Vec<Option<u64>>>>) {
    let mut world = World::new();
    let told: std::sync::Arc<std::sync::Mutex<Vec<Option<u64>>>> = Default::default();
    let heard = std::sync::Arc::clone(&told);
    let changed = Box::new(move |_, player| heard.lock().expect("pushing does not panic").push(player));
    let cache = BindingCache::new(world.cache.settings().clone(), steering_fixture::random(1), changed);
    world.cache = std::sync::Arc::new(cache);
    (world, told)
}

#[test]
fn a_presentation_plays_to_a_key_holders_home_address_and_hears_of_every_change_there() {
    let (mut world, told) = listening();
    let taken = || std::mem::take(&mut *told.lock().expect("pushing does not panic"));
    let home = world.try_reserve(Owner::KeyHolder, None, Some(300)).expect("reserved");
    assert_eq!(taken(), [None], "nothing plays there yet");
    let expectation = Expectation { payload_type: PayloadType::new(96), ..Expectation::default() };
    let label = world.cache.play_to(home, 7, expectation, None, world.now).expect("free");
    assert_eq!(
        world.cache.home_view(home, world.now).map(|view| (view.owner, view.player, view.label)),
        Some((Owner::KeyHolder, Some(7), Some(label)))
    );
    assert_eq!(world.cache.homes_of(OWNER), [home]);
    taken();
    let by_key = |place, binding, lifetime| Update {
        authority: Authority::HomeKey,
        binding: Some(BindingId(binding)),
        lifetime: Some(Duration::from_secs(lifetime)),
        ..update(home, place, u64::from(binding))
    };
    let (_, first) = world.bind_started(&by_key(a(), 1, 60));
    assert_eq!(taken(), [Some(7)], "bound");
    world.bind_started(&by_key(b(), 2, 60));
    assert_eq!(taken(), [Some(7), None], "moving; the window's end is known");
    world.pass(2000);
    assert_eq!(taken(), [Some(7), Some(7)], "left, moved");
    assert_eq!(world.cache.remove(home, first, EndReason::Removed, world.now), Err(SteeringError::UnknownBinding));
    world.pass(60_000);
    assert_eq!(taken(), [Some(7), Some(7)], "both expired");
    assert!(world.events().iter().skip(1).all(|event| event.player == Some(7)));
    world.cache.release(home, world.now).expect("reserved");
    assert_eq!(taken(), [Some(7)], "released");
    assert_eq!(world.cache.homes_of(OWNER), []);
}

#[test]
fn the_end_of_a_presentation_leaves_the_reservation_its_label_and_its_bindings_for_the_next() {
    let world = World::new();
    let home = world.try_reserve(Owner::KeyHolder, None, Some(300)).expect("reserved");
    let expectation = Expectation { payload_type: PayloadType::new(96), ports: Some((5004, 5005)), media: None };
    let label = world.cache.play_to(home, 7, expectation, None, world.now).expect("free");
    world.bind(&Update { authority: Authority::HomeKey, ..update(home, a(), 1) });
    let own = world.reserve();
    assert_eq!(world.cache.homes_of(OWNER), [home, own]);
    assert_eq!(world.cache.play_to(home, 8, expectation, None, world.now), Err(SteeringError::Occupied));
    assert_eq!(world.cache.play_to(own, 8, expectation, None, world.now), Err(SteeringError::Occupied), "its owner plays there");
    world.cache.leave(home, 8, world.now);
    assert_eq!(world.cache.player(home), Some(7), "who is no guest cannot go");

    world.cache.release_owner(OWNER, world.now);
    assert_eq!((world.cache.owner(own), world.cache.owner(home)), (None, Some(Owner::KeyHolder)));
    let view = world.cache.home_view(home, world.now).expect("still reserved");
    assert_eq!((view.player, view.label, view.branches.len()), (None, Some(label), 1));
    assert_eq!(world.cache.homes_of(OWNER), []);

    assert_eq!(world.cache.play_to(home, 8, Expectation::default(), None, world.now), Ok(label), "the next flow takes the label");
    assert_eq!(world.cache.player(home), Some(8));
    world.cache.release_owner(OWNER, world.now);
    assert_eq!(world.cache.player(home), Some(8), "who went before is not asked");
    assert_eq!(world.cache.play_to(steering_nobody(), 8, expectation, None, world.now), Err(SteeringError::UnknownHome));
}

fn steering_nobody() -> flowsteer::steering::HomeAddress {
    flowsteer::steering::HomeAddress("2001:db8:f::dead".parse().expect("an address"))
}

#[test]
fn a_home_address_that_is_routed_gets_its_flow_itself_while_nobody_is_bound() {
    let mut settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    let routed = |world: &World, home| world.cache.serve_at_home(home, 7, (5004, 5005), None, world.now);
    let world = World::with(settings.clone());
    let home = world.try_reserve(Owner::KeyHolder, None, Some(300)).expect("reserved");
    world.cache.play_to(home, 7, Expectation::default(), None, world.now).expect("free");
    assert!(!routed(&world, home), "no prefix is");

    settings.unbound_prefixes = vec!["2001:db8:f::/64".parse().expect("a prefix")];
    let mut world = World::with(settings);
    let home = world.try_reserve(Owner::KeyHolder, None, Some(300)).expect("reserved");
    assert!(!routed(&world, home), "nothing plays there");
    world.cache.authorise(home, LABEL, Expectation::default()).expect("no label yet");
    assert_eq!(world.cache.play_to(home, 7, Expectation::default(), None, world.now), Ok(LABEL));
    assert_eq!(world.send(home), Err(DropReason::NoBinding));
    assert!(routed(&world, home));
    let there = udp(&format!("[{home}]:5004"));
    assert_eq!((world.send(home), status(&world, home)), (Ok(vec![there]), HomeStatus::Reserved));
    let serial = |world: &World| world.cache.home_view(home, world.now).expect("reserved").branches[0].branch.serial;
    let first = serial(&world);

    let by_key = Update { authority: Authority::HomeKey, lifetime: Some(Duration::from_secs(60)), ..update(home, a(), 1) };
    world.bind_started(&by_key);
    assert_eq!(world.send(home), Ok(vec![a()]), "it is bound elsewhere");
    assert_eq!(ended(&world, home), [EndReason::Roamed], "the same device, which is told no BYE");
    world.pass(60_000);
    assert_eq!(world.send(home), Ok(vec![there]), "home again");
    assert_ne!(serial(&world), first, "as a branch of its own");
    world.cache.release_owner(OWNER, world.now);
    assert_eq!(world.send(home), Err(DropReason::NoBinding), "nothing plays there any more");
}

#[test]
fn a_token_for_a_flow_that_a_guest_plays_names_the_presentation() {
    let world = World::new();
    let home = world.try_reserve(Owner::KeyHolder, None, Some(300)).expect("reserved");
    world.cache.play_to(home, 7, Expectation::default(), None, world.now).expect("free");
    let own = world.flow();
    let homes = [home, own];
    let options = flowsteer::steering::GrantOptions { transfer_id: Some(3), ..Default::default() };
    let grants = homes.map(|home| world.cache.issue_grant(home, &options, world.now).expect("a label"));
    let text = flowsteer::steering::token(&grants);
    let verified = world.cache.verify_token(&text, None, world.now).expect("good");
    assert!(verified.iter().all(|grant| grant.owner == OWNER), "{verified:?}");
    for home in homes {
        assert_eq!(world.cache.issued_tokens(home), std::slice::from_ref(&text), "known again for credentials");
    }
}

#[test]
fn a_certain_home_address_is_given_once_and_only_out_of_the_pool() {
    let world = World::new();
    let home = world.reserve();
    assert_eq!(world.try_reserve(OWNER, Some(home), None), Err(SteeringError::HeldByAnother));
    for outside in ["2001:db8:f::", "2001:db8:e::1"] {
        let outside = flowsteer::steering::HomeAddress(outside.parse().expect("an address"));
        assert_eq!(world.try_reserve(OWNER, Some(outside), None), Err(SteeringError::NotPermitted), "{outside}");
    }
}

#[test]
fn a_released_home_address_rests_for_thirty_seconds() {
    let mut world = World::new();
    let home = world.reserve();
    world.cache.release(home, world.now).expect("released");
    assert_eq!(world.cache.release(home, world.now), Err(SteeringError::UnknownHome));
    world.pass(29_999);
    assert_eq!(world.try_reserve(OWNER, Some(home), None), Err(SteeringError::HeldByAnother));
    world.pass(1);
    assert_eq!(world.try_reserve(OWNER, Some(home), None), Ok(home));
}

#[test]
fn an_exhausted_pool_says_so() {
    let world = World::with(SteeringSettings::new("2001:db8:f::/126".parse().expect("a prefix")));
    let homes: Vec<_> = (0..3).map(|_| world.reserve()).collect();
    assert!(homes.iter().all(|home| home.0.segments()[7] != 0), "the first address is the routers' anycast address");
    assert_eq!(world.try_reserve(OWNER, None, None), Err(SteeringError::PoolEmpty));
}

#[test]
fn a_reservation_for_a_time_ends_with_it_unless_somebody_is_bound() {
    let mut world = World::new();
    let empty = world.try_reserve(Owner::KeyHolder, None, Some(10)).expect("reserved");
    let bound = world.try_reserve(Owner::KeyHolder, None, Some(10)).expect("reserved");
    world.bind(&Update { authority: Authority::HomeKey, ..update(bound, a(), 1) });
    world.pass(9_999);
    assert!(world.cache.owner(empty).is_some());
    world.pass(1);
    assert_eq!(world.cache.owner(empty), None);
    assert_eq!(world.cache.poll_timeout(), None, "nothing is left to end by itself");
    assert_eq!(world.refusal(&Update { authority: Authority::HomeKey, ..update(bound, b(), 1) }), SteeringError::NotPermitted);
    let (_, serial) = world.bind(&Update { authority: Authority::Operator, binding: Some(BindingId(0x8000)), ..update(bound, a(), 1) });
    world.cache.remove(bound, serial, EndReason::Removed, world.now).expect("removed");
    assert_eq!(world.cache.owner(bound), None, "freed with its last binding");
}

#[test]
fn the_longest_reservation_is_bounded_and_the_default_of_a_key_holder() {
    let mut world = World::new();
    let homes = [None, Some(1_000_000)].map(|asked| world.try_reserve(Owner::KeyHolder, None, asked).expect("reserved"));
    world.pass(7_199_999);
    assert!(homes.iter().all(|home| world.cache.owner(*home).is_some()));
    world.pass(1);
    assert!(homes.iter().all(|home| world.cache.owner(*home).is_none()));
}

#[test]
fn releasing_a_presentation_releases_its_home_addresses_and_no_others() {
    let world = World::new();
    let (mine, other) = (world.flow(), world.try_reserve(Owner::Presentation(8), None, None).expect("reserved"));
    let keyed = world.try_reserve(Owner::KeyHolder, None, None).expect("reserved");
    let mut gate = world.cache.gate(mine).expect("reserved");
    world.bind(&update(mine, a(), 1));
    world.events();
    world.cache.release_owner(OWNER, world.now);
    world.cache.release_owner(Owner::KeyHolder, world.now);
    assert_eq!(world.kinds(), [EventKind::Released]);
    assert_eq!(world.cache.owner(mine), None);
    assert!(world.cache.owner(other).is_some() && world.cache.owner(keyed).is_some());
    assert_eq!(world.send_through(&mut gate, mine), Err(DropReason::NoHome), "a shard that still holds it sends nothing");
    assert_eq!(ended_of(&mut gate), [EndReason::Released]);
}

fn ended_of(gate: &mut flowsteer::steering::Gate) -> Vec<EndReason> {
    gate.route().ended.iter().map(|ended| ended.reason).collect()
}

#[test]
fn named_home_addresses_stay_the_same_over_a_restart() {
    let first = World::new();
    let names = ["wall", "wall.audio"];
    let kept = first.cache.keep_all(names, &Default::default(), first.now).expect("kept");
    assert_eq!(kept.len(), 2);
    assert_ne!(kept["wall"], kept["wall.audio"]);
    let second = World::new();
    let more = second.cache.keep_all(["desk", "wall.audio", "wall"], &kept, second.now).expect("kept");
    assert!(more["wall"] == kept["wall"] && more["wall.audio"] == kept["wall.audio"] && !kept.values().any(|home| *home == more["desk"]));
    let wall = flowsteer::steering::HomeAddress(kept["wall"]);
    assert_eq!(second.cache.named("wall"), Some(wall));
    assert_eq!(second.cache.name_of(wall).as_deref(), Some("wall"));
    second.try_reserve(OWNER, Some(wall), None).expect("reserved");
    second.cache.release(wall, second.now).expect("released");
    second.try_reserve(OWNER, Some(wall), None).expect("a named one does not rest");
}

#[test]
fn a_named_home_address_of_another_prefix_or_of_two_names_is_drawn_anew() {
    let world = World::new();
    let outside = flowsteer::steering::HomeAddress("fd00::1".parse().expect("an address"));
    let inside = flowsteer::steering::HomeAddress("2001:db8:f::1".parse().expect("an address"));
    let had = [("a", outside), ("b", inside), ("c", inside)].map(|(name, home)| (name.to_owned(), home.0)).into();
    let kept = world.cache.keep_all(["a", "b", "c", "b"], &had, world.now).expect("kept");
    assert_eq!(kept["b"], inside.0);
    assert!(kept["a"] != outside.0 && kept["c"] != inside.0 && kept["a"] != kept["c"]);
    assert!(kept.values().all(|home| world.cache.is_home(*home)));
}

// The filter

#[test]
fn a_packet_has_the_first_reason_that_holds_against_it() {
    let world = World::new();
    let home = world.flow();
    let elsewhere = flowsteer::steering::HomeAddress("2001:db8:f::9".parse().expect("an address"));
    let mut gate = world.cache.gate(home).expect("reserved");
    let mut verdict = |facts| gate.pass(&facts, 3, world.now).err();
    assert_eq!(verdict(facts(elsewhere)), Some(DropReason::NoHome));
    let unlabelled = flowsteer::steering::PacketFacts { label: 0, ..facts(home) };
    let foreign = flowsteer::steering::PacketFacts { label: OTHER_LABEL.bits(), ..facts(home) };
    assert_eq!(verdict(unlabelled), Some(DropReason::NoBinding));
    world.bind(&update(home, a(), 1));
    assert_eq!(verdict(unlabelled), Some(DropReason::LabelZero));
    assert_eq!(verdict(foreign), Some(DropReason::Label));
    assert_eq!(verdict(facts(home)), None);
    let expected = [DropReason::NoHome, DropReason::NoBinding, DropReason::LabelZero, DropReason::Label].map(|reason| (reason, 3));
    assert_eq!(world.cache.home_view(home, world.now).expect("reserved").dropped, expected);
    world.cache.release(home, world.now).expect("released");
    assert_eq!(world.cache.dropped()[..4], expected, "the totals survive the home address");
    assert_eq!(world.cache.counters().dropped(DropReason::NotExpected), 0);
}

#[test]
fn a_home_address_without_a_label_learns_it_from_the_first_packet_that_is_as_expected() {
    let world = World::new();
    let home = world.reserve();
    world.cache.expect(home, Expectation { payload_type: PayloadType::new(96), ports: Some((5004, 5005)), media: None }).expect("reserved");
    world.bind(&update(home, a(), 1));
    assert_eq!(status(&world, home), HomeStatus::Bound);
    let mut gate = world.cache.gate(home).expect("reserved");
    let good = facts(home);
    for wrong in [
        flowsteer::steering::PacketFacts { source: "2001:db8:5::2".parse().expect("an address"), ..good },
        flowsteer::steering::PacketFacts { destination_port: 5006, ..good },
        flowsteer::steering::PacketFacts { payload: flowsteer::steering::Payload::Rtp(PayloadType::new(97).expect("seven bits")), ..good },
        flowsteer::steering::PacketFacts { label: 0x10_0000, ..good },
    ] {
        let epoch = gate.route().epoch;
        assert_eq!(gate.pass(&wrong, 1, world.now).err(), Some(DropReason::NotExpected), "{wrong:?}");
        assert_eq!(gate.route().epoch, epoch, "nothing was learned");
    }
    let report = flowsteer::steering::PacketFacts { destination_port: 5005, payload: flowsteer::steering::Payload::Rtcp, ..good };
    assert!(gate.pass(&report, 1, world.now).is_ok(), "RTCP has no payload type");
    assert_eq!(gate.route().label, Some(LABEL));
    assert_eq!(status(&world, home), HomeStatus::Flowing);
    let foreign = flowsteer::steering::PacketFacts { label: OTHER_LABEL.bits(), ..good };
    assert_eq!(gate.pass(&foreign, 1, world.now).err(), Some(DropReason::Label));
    assert_eq!(world.cache.authorise(home, OTHER_LABEL, Expectation::default()), Err(SteeringError::OtherLabel));
}

#[test]
fn labels_are_drawn_out_of_those_that_no_home_address_has() {
    let drawn = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let next = std::sync::Arc::clone(&drawn);
    let random = Box::new(move |octets: &mut [u8]| match octets.len() {
        4 => octets.copy_from_slice(&next.lock().expect("one thread").pop().unwrap_or(0x777_u32).to_be_bytes()),
        _ => octets.fill(9),
    });
    let settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    let cache = std::sync::Arc::new(flowsteer::steering::BindingCache::new(settings, random, Box::new(|_, _| ())));
    let world = World { cache, ..World::new() };
    let home = world.reserve();
    let draws = |numbers: &[u32]| {
        *drawn.lock().expect("one thread") = numbers.iter().rev().copied().collect();
        world.cache.draw_label()
    };
    assert_eq!(draws(&[0x0001_3579]), OTHER_LABEL);
    assert_eq!(draws(&[0, 0xfff5_a3c7]), LABEL, "zero is no label, the upper bits are none of it");
    world.cache.authorise(home, OTHER_LABEL, Expectation::default()).expect("authorised");
    assert_eq!(draws(&[0x0001_3579, 0x0005_a3c7]), LABEL);
    world.cache.release(home, world.now).expect("released");
    assert_eq!(draws(&[0x0001_3579, 0x0005_a3c7]), OTHER_LABEL);
}

#[test]
fn drawing_a_label_ends_even_without_randomness() {
    let settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    let cache = flowsteer::steering::BindingCache::new(settings, Box::new(|octets| octets.fill(0)), Box::new(|_, _| ()));
    assert_eq!(cache.draw_label().bits(), FlowLabel::MAX);
}

// Proof of the care-of

#[test]
fn an_unproven_care_of_is_stored_nowhere() {
    let world = World::new();
    let (home, _) = world.playing();
    let victim = b();
    for (authority, proof) in [
        (Authority::Owner(OWNER), Proof::Missing),
        (Authority::HomeKey, Proof::Missing),
        (Authority::Operator, Proof::Missing),
        (Authority::Operator, Proof::Trusted),
        (Authority::Owner(OWNER), Proof::RequestPeer(a().ip())),
    ] {
        let request = Update { authority, proof, ..update(home, victim, 2) };
        assert_eq!(world.refusal(&request), SteeringError::CareOfUnproven, "{request:?}");
    }
    assert_eq!(world.send(home), Ok(vec![a()]));
    assert_eq!(world.cache.counters().care_of_unproven.load(std::sync::atomic::Ordering::Relaxed), 5);
}

#[test]
fn a_care_of_that_is_bound_to_the_same_home_address_needs_no_new_proof() {
    let mut world = World::new();
    let (home, serial) = world.playing();
    let elsewhere = world.flow();
    let id = world.cache.home_view(home, world.now).expect("reserved").branches[0].branch.binding;
    let refresh = |home| Update { binding: Some(id), proof: Proof::Missing, ..update(home, udp("[2001:db8:c1::130]:9000"), 1) };
    assert_eq!(world.bind(&refresh(home)), (id, serial));
    assert_eq!(world.refusal(&refresh(elsewhere)), SteeringError::CareOfUnproven);
    world.bind_started(&update(home, b(), 2));
    world.skip(2_000);
    let request = Update { binding: None, ..refresh(home) };
    let error = world.cache.update(&[request], world.now).expect_err("its window is over, though the timer is late");
    assert_eq!(error, SteeringError::CareOfUnproven);
}

#[test]
fn operators_may_name_trusted_care_ofs_with_unprivileged_ports() {
    let world = World::new();
    let home = world.flow();
    let trusted = |authority, care_of| Update { authority, proof: Proof::Trusted, ..update(home, care_of, 1) };
    for authority in [Authority::Owner(OWNER), Authority::HomeKey] {
        assert_eq!(world.refusal(&trusted(authority, udp("127.0.0.1:5004"))), SteeringError::CareOfUnproven);
    }
    let rtp: SocketAddr = "[::1]:5004".parse().expect("an endpoint");
    let low = CareOf::Udp { rtp, rtcp: "[::1]:1023".parse().expect("an endpoint"), source: None };
    for care_of in [udp("[::1]:1023"), udp("[::1]:53"), low] {
        assert_eq!(world.refusal(&trusted(Authority::Operator, care_of)), SteeringError::CareOfUnproven, "{care_of:?}");
    }
    world.bind(&trusted(Authority::Operator, udp("[::1]:1024")));
}

#[test]
fn a_care_of_is_one_host_outside_of_the_home_prefix() {
    let world = World::new();
    let home = world.flow();
    for place in [
        "0.0.0.0:5004",
        "255.255.255.255:5004",
        "239.1.2.3:5004",
        "[::]:5004",
        "[ff02::1]:5004",
        "[::ffff:192.0.2.1]:5004",
        "[2001:db8:f::77]:5004",
        "192.0.2.1:0",
    ] {
        assert_eq!(world.refusal(&update(home, udp(place), 1)), SteeringError::CareOfUnacceptable, "{place}");
    }
    let rtp: SocketAddr = "192.0.2.1:5004".parse().expect("an endpoint");
    let split = CareOf::Udp { rtp, rtcp: "192.0.2.2:5005".parse().expect("an endpoint"), source: None };
    assert_eq!(world.refusal(&update(home, split, 1)), SteeringError::CareOfUnacceptable);
    assert_eq!(world.refusal(&Update { binding: Some(BindingId(0)), ..update(home, a(), 1) }), SteeringError::BindingIdZero);
}

// Moving

#[test]
fn a_move_serves_both_for_the_window_and_then_the_new_one_only() {
    let mut world = World::new();
    let (home, _) = world.playing();
    assert_eq!((status(&world, home), world.kinds()), (HomeStatus::Flowing, vec![EventKind::Bound]));
    world.pass(5_000);
    let receipt = world.cache.update(&[update(home, b(), 2)], world.now).expect("accepted");
    world.cache.branch_started(home, receipt.bindings[0].2, world.now);
    let window = Duration::from_millis(2000);
    assert_eq!(world.kinds(), [EventKind::Moving { update: receipt.update, window }]);
    assert_eq!((world.send(home), status(&world, home)), (Ok(vec![a(), b()]), HomeStatus::Moving));
    let view = world.cache.home_view(home, world.now).expect("reserved");
    assert_eq!(view.branches.iter().map(|view| view.branch.leaving).collect::<Vec<_>>(), [true, false]);
    world.pass(1_999);
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    world.pass(1);
    assert_eq!((world.send(home), status(&world, home)), (Ok(vec![b()]), HomeStatus::Flowing));
    assert_eq!(ended(&world, home), [EndReason::Moved]);
    let moved = EventKind::Moved { update: receipt.update };
    assert_eq!(world.kinds(), [EventKind::Left { reason: EndReason::Moved }, moved]);
}

#[test]
fn nothing_leaves_for_an_ended_branch_however_late_the_timer_is_and_it_is_told_once() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let mut gate = world.cache.gate(home).expect("reserved");
    world.bind_started(&update(home, b(), 2));
    world.events();
    world.skip(2_000);
    assert_eq!(world.send_through(&mut gate, home), Ok(vec![b()]));
    assert_eq!(world.events(), [], "the data plane tells nothing");
    assert!(world.cache.poll_timeout().is_some_and(|deadline| deadline <= world.now.mono));
    world.cache.handle_timeout(world.now);
    assert_eq!(world.kinds().len(), 2);
    world.cache.handle_timeout(world.now);
    assert_eq!((world.events(), world.cache.poll_timeout()), (vec![], None));
}

#[test]
fn window_zero_ends_the_old_branch_with_the_first_packet_of_the_new_one() {
    let world = World::new();
    let (home, _) = world.playing();
    let (_, serial) = world.bind(&Update { window: Some(Duration::ZERO), ..update(home, b(), 2) });
    assert_eq!(world.send(home), Ok(vec![a(), b()]), "the old one waits for the new one's first packet");
    world.cache.branch_started(home, serial, world.now);
    assert_eq!(world.send(home), Ok(vec![b()]));
    assert_eq!(ended(&world, home), [EndReason::Moved]);
}

#[test]
fn the_old_branch_waits_for_the_new_ones_first_packet_but_not_beyond_the_longest_window() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let (_, serial) = world.bind(&update(home, b(), 2));
    world.pass(14_999);
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    let late = world.now;
    world.pass(1);
    assert_eq!(world.send(home), Ok(vec![b()]));
    let (_, _) = world.bind(&update(home, c(), 3));
    world.pass(3_000);
    assert_eq!(world.send(home), Ok(vec![b(), c()]));
    world.cache.branch_started(home, serial, late);
    assert_eq!(world.send(home), Ok(vec![b(), c()]), "another branch's first packet does not count");
}

#[test]
fn a_window_is_as_long_as_it_is_asked_for() {
    let mut world = World::new();
    let (home, _) = world.playing();
    world.bind_started(&Update { window: Some(Duration::from_secs(3600)), ..update(home, b(), 2) });
    world.pass(3_599_999);
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    world.pass(1);
    assert_eq!(world.send(home), Ok(vec![b()]));
}

#[test]
fn a_binding_with_a_lifetime_that_was_left_stays_registered_and_can_have_the_flow_again() {
    let mut world = World::new();
    let home = world.flow();
    let bound = |care_of, id, mode| Update {
        binding: Some(BindingId(id)),
        lifetime: Some(Duration::from_secs(60)),
        mode,
        ..update(home, care_of, u64::from(id))
    };
    let (_, first) = world.bind_started(&bound(a(), 1, Mode::Move));
    world.bind_started(&bound(b(), 2, Mode::Move));
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![b()]));
    world.bind(&bound(a(), 1, Mode::Refresh));
    assert_eq!(world.send(home), Ok(vec![b()]), "a refresh does not take the flow back");
    assert_eq!(
        world.cache.remove(home, first, EndReason::Removed, world.now),
        Err(SteeringError::UnknownBinding),
        "that branch is no more"
    );
    let (_, again) = world.bind_started(&bound(a(), 1, Mode::Move));
    assert_ne!(again, first, "it enters anew");
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![a()]));
    world.events();
    world.pass(60_000);
    assert_eq!(world.send(home), Err(DropReason::NoBinding));
    assert_eq!(world.kinds(), [EventKind::Expired, EventKind::Expired], "both lifetimes have ended");
}

#[test]
fn a_move_to_one_of_several_ends_the_others() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let second = Update { binding: Some(BindingId(2)), ..update(home, b(), 2) };
    world.bind_started(&Update { mode: Mode::Fork, ..second.clone() });
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    world.bind(&second);
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![b()]));
}

#[test]
fn an_endless_window_is_a_fork_also_for_those_that_were_leaving() {
    let mut world = World::new();
    let (home, _) = world.playing();
    world.bind_started(&update(home, b(), 2));
    let (_, _) = world.bind_started(&Update { window: Some(Window::FOREVER), ..update(home, c(), 3) });
    world.pass(60_000);
    assert_eq!((world.send(home), status(&world, home)), (Ok(vec![a(), b(), c()]), HomeStatus::Forked));
}

#[test]
fn an_update_within_a_window_starts_it_anew() {
    let mut world = World::new();
    let (home, _) = world.playing();
    world.bind_started(&update(home, b(), 2));
    world.pass(1_500);
    world.bind_started(&update(home, c(), 3));
    world.pass(1_999);
    assert_eq!(world.send(home), Ok(vec![a(), b(), c()]));
    world.pass(1);
    assert_eq!(world.send(home), Ok(vec![c()]));
}

#[test]
fn a_move_that_is_withdrawn_lets_the_old_branch_end_with_its_window() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let (_, serial) = world.bind(&update(home, b(), 2));
    world.cache.remove(home, serial, EndReason::Removed, world.now).expect("removed");
    world.pass(1_999);
    assert_eq!(world.send(home), Ok(vec![a()]));
    world.pass(1);
    assert_eq!(world.send(home), Err(DropReason::NoBinding));
    assert_eq!(status(&world, home), HomeStatus::Reserved);
    assert!(world.cache.gate(home).is_some_and(|mut gate| gate.route().label == Some(LABEL)), "the label is kept");
}

#[test]
fn a_binding_that_is_leaving_can_be_taken_back_as_the_branch_that_it_is() {
    let mut world = World::new();
    let home = world.flow();
    let (id, serial) = world.bind_started(&Update { binding: Some(BindingId(1)), ..update(home, a(), 1) });
    world.bind_started(&Update { binding: Some(BindingId(2)), ..update(home, b(), 2) });
    world.pass(500);
    let served = |care_of, serial| Update { binding: Some(id), proof: Proof::Served(serial), ..update(home, care_of, 1) };
    let (elsewhere, other) = (udp("[2001:db8:c1::130]:5010"), flowsteer::steering::BranchSerial(serial.0 + 1));
    assert_eq!(world.refusal(&served(elsewhere, serial)), SteeringError::CareOfUnproven);
    assert_eq!(world.refusal(&served(a(), other)), SteeringError::CareOfUnproven);
    assert_eq!(world.bind(&served(a(), serial)), (id, serial));
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![a()]));
    assert_eq!(ended(&world, home), [EndReason::Moved]);
    world.bind_started(&Update { binding: Some(BindingId(2)), ..update(home, elsewhere, 2) });
    world.pass(2_000);
    assert_eq!(world.refusal(&served(a(), serial)), SteeringError::CareOfUnproven, "it has ended, though its host is bound");
}

#[test]
fn taking_back_as_a_new_session_makes_a_branch_of_its_own() {
    let mut world = World::new();
    let (home, first) = world.playing();
    world.bind_started(&update(home, b(), 2));
    world.pass(500);
    let again = udp("[2001:db8:c1::130]:5010");
    let (_, second) = world.bind_started(&update(home, again, 3));
    assert_ne!(first, second);
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![again]));
}

// Forking, refreshing, roaming

#[test]
fn a_fork_keeps_all_until_one_is_removed() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let (id, _) = world.bind_started(&Update { mode: Mode::Fork, ..update(home, b(), 2) });
    world.pass(60_000);
    assert_eq!((world.send(home), status(&world, home)), (Ok(vec![a(), b()]), HomeStatus::Forked));
    world.cache.remove_binding(home, id, EndReason::Removed, world.now).expect("removed");
    assert_eq!((world.send(home), status(&world, home)), (Ok(vec![a()]), HomeStatus::Flowing));
    assert_eq!(world.cache.remove_binding(home, id, EndReason::Removed, world.now), Err(SteeringError::UnknownBinding));
}

#[test]
fn a_refresh_changes_the_care_of_and_the_lifetime_only() {
    let mut world = World::new();
    let home = world.flow();
    let at = |care_of| Update { binding: Some(BindingId(1)), lifetime: Some(Duration::from_secs(60)), ..update(home, care_of, 1) };
    let (_, serial) = world.bind(&at(a()));
    let (_, fork) = world.bind(&Update { mode: Mode::Fork, ..update(home, c(), 2) });
    world.pass(30_000);
    world.events();
    assert_eq!(world.bind(&Update { mode: Mode::Refresh, ..at(b()) }), (BindingId(1), serial));
    assert_eq!((world.kinds(), world.send(home)), (vec![EventKind::Refreshed], Ok(vec![b(), c()])));
    world.pass(59_999);
    assert_eq!(world.send(home), Ok(vec![b(), c()]));
    world.pass(1);
    assert_eq!((world.send(home), ended(&world, home)), (Ok(vec![c()]), vec![EndReason::Expired]));
    assert_ne!(serial, fork);
}

#[test]
fn the_old_devices_refresh_does_not_take_the_flow_back() {
    let mut world = World::new();
    let home = world.flow();
    let one = Update { binding: Some(BindingId(1)), ..update(home, a(), 1) };
    let refresh = Update { mode: Mode::Refresh, ..one.clone() };
    assert_eq!(world.refusal(&refresh), SteeringError::UnknownBinding);
    world.bind_started(&one);
    world.bind_started(&Update { binding: Some(BindingId(2)), ..update(home, b(), 2) });
    world.bind(&refresh);
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![b()]));
    assert_eq!(world.refusal(&refresh), SteeringError::UnknownBinding);
}

#[test]
fn a_device_that_binds_again_elsewhere_has_roamed_and_is_not_told_bye() {
    for mode in [Mode::Move, Mode::Fork] {
        let mut world = World::new();
        let (home, _) = world.playing();
        world.bind_started(&Update { mode, ..update(home, b(), 1) });
        world.pass(2_000);
        assert_eq!((world.send(home), ended(&world, home)), (Ok(vec![b()]), vec![EndReason::Roamed]), "{mode:?}");
        assert!(!EndReason::Roamed.says_bye());
    }
}

#[test]
fn what_an_operator_moves_is_told_bye() {
    let mut world = World::new();
    let home = world.flow();
    let operator = |id, care_of| Update { authority: Authority::Operator, binding: Some(BindingId(id)), ..update(home, care_of, 0) };
    world.bind_started(&operator(1, a()));
    world.bind_started(&operator(2, b()));
    world.pass(2_000);
    assert_eq!(ended(&world, home), [EndReason::Moved]);
}

#[test]
fn a_place_that_has_the_flow_twice_gets_it_once_and_no_bye_while_it_is_served() {
    let world = World::new();
    let (home, first) = world.playing();
    let (_, second) = world.bind_started(&Update { mode: Mode::Fork, ..update(home, a(), 2) });
    assert_eq!(world.send(home), Ok(vec![a()]));
    let mut gate = world.cache.gate(home).expect("reserved");
    assert_eq!(gate.route().branches[0].serial, first);
    world.cache.remove(home, first, EndReason::Removed, world.now).expect("removed");
    let route = gate.route().clone();
    assert_eq!((route.branches.len(), route.branches[0].serial, route.ended[0].reason), (1, second, EndReason::Roamed));
    world.cache.remove(home, second, EndReason::Removed, world.now).expect("removed");
    assert_eq!(ended_of(&mut gate), [EndReason::Roamed, EndReason::Removed]);
}

#[test]
fn a_move_to_the_same_place_replaces_the_branch_at_once() {
    let mut world = World::new();
    let (home, first) = world.playing();
    let (_, second) = world.bind_started(&update(home, a(), 2));
    let mut gate = world.cache.gate(home).expect("reserved");
    let route = gate.route().clone();
    assert_eq!((route.branches.len(), route.branches[0].serial), (1, second));
    assert_eq!((route.ended[0].branch.serial, route.ended[0].reason), (first, EndReason::Roamed));
    world.pass(2_000);
    assert!(ended_of(&mut gate).iter().all(|reason| !reason.says_bye()));
}

#[test]
fn a_branch_that_shows_again_enters_at_once() {
    let world = World::new();
    let home = world.flow();
    let (_, first) = world.bind(&update(home, a(), 1));
    let id = BindingId(9);
    let (_, second) = world.bind(&Update { binding: Some(id), mode: Mode::Fork, ..update(home, b(), 2) });
    world.bind(&Update { binding: Some(id), mode: Mode::Refresh, ..update(home, a(), 2) });
    let mut gate = world.cache.gate(home).expect("reserved");
    assert_eq!(gate.route().branches.iter().map(|branch| branch.serial).collect::<Vec<_>>(), [first]);
    world.cache.remove(home, first, EndReason::Removed, world.now).expect("removed");
    let shown = gate.route().branches[0];
    assert_eq!((shown.serial, shown.join.way), (second, JoinWay::AtOnce));
}

#[test]
fn interleaved_branches_move_to_udp_and_back() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let interleaved = CareOf::Interleaved {
        connection: ConnectionId(4),
        peer: "[2001:db8:c2::140]:40000".parse().expect("an endpoint"),
        rtp_channel: 0,
        rtcp_channel: 1,
    };
    world.bind_started(&update(home, interleaved, 2));
    assert_eq!(world.send(home), Ok(vec![a(), interleaved]));
    world.pass(2_000);
    world.bind_started(&update(home, b(), 3));
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![b()]));
}

// Authority, limits, several at once

#[test]
fn only_the_owner_moves_by_ownership_and_key_holders_are_no_owner() {
    let world = World::new();
    let home = world.flow();
    for owner in [Owner::Presentation(8), Owner::KeyHolder] {
        assert_eq!(world.refusal(&Update { authority: Authority::Owner(owner), ..update(home, a(), 1) }), SteeringError::NotPermitted);
    }
    let keyed = world.try_reserve(Owner::KeyHolder, None, None).expect("reserved");
    let request = Update { authority: Authority::Owner(Owner::KeyHolder), ..update(keyed, a(), 1) };
    assert_eq!(world.refusal(&request), SteeringError::NotPermitted);
}

#[test]
fn a_home_address_has_at_most_eight_bindings() {
    let world = World::new();
    let home = world.flow();
    let fork = |port: u16| Update { mode: Mode::Fork, ..update(home, udp(&format!("192.0.2.1:{port}")), u64::from(port)) };
    let ids: Vec<_> = (0..8).map(|index| world.bind(&fork(5000 + 2 * index)).0).collect();
    assert!(ids.iter().all(|id| id.0 >= BindingId::FIRST_DRAWN));
    assert_eq!(world.refusal(&fork(6000)), SteeringError::TooManyBindings);
    world.bind(&Update { binding: Some(ids[3]), ..fork(6000) });
    world.cache.remove_binding(home, ids[3], EndReason::Removed, world.now).expect("removed");
    let (id, _) = world.bind(&fork(7000));
    assert!(!ids.contains(&id), "an identifier is not given to another device at once");
}

#[test]
fn an_update_of_several_flows_is_one_step_or_nothing() {
    let world = World::new();
    let (video, audio) = (world.flow(), world.flow());
    let both = [update(video, a(), 1), update(audio, c(), 1)];
    let receipt = world.cache.update(&both, world.now).expect("accepted");
    assert_eq!(receipt.bindings.iter().map(|bound| bound.0).collect::<Vec<_>>(), [video, audio]);
    for home in [video, audio] {
        assert_eq!(world.cache.home_view(home, world.now).expect("reserved").branches[0].branch.update, receipt.update);
    }
    let half = [update(video, b(), 2), Update { proof: Proof::Missing, ..update(audio, b(), 2) }];
    for order in [[0, 1], [1, 0]] {
        let updates = order.map(|index: usize| half[index].clone());
        assert_eq!(world.cache.update(&updates, world.now), Err(SteeringError::CareOfUnproven));
        assert_eq!((world.send(video), world.send(audio)), (Ok(vec![a()]), Ok(vec![c()])));
    }
    let twice = [update(video, b(), 2), update(video, c(), 2)];
    assert_eq!(world.cache.update(&twice, world.now), Err(SteeringError::NotPermitted));
    assert!(world.cache.update(&[], world.now).expect("nothing to do").bindings.is_empty());
}

#[test]
fn updates_of_the_same_flows_from_two_threads_do_not_wait_for_each_other_for_ever() {
    let world = World::new();
    let (video, audio) = (world.flow(), world.flow());
    std::thread::scope(|scope| {
        for (holder, order) in [(1, [video, audio]), (2, [audio, video])] {
            let (cache, now) = (&world.cache, world.now);
            scope.spawn(move || {
                for _ in 0..500 {
                    let care_of = if holder == 1 { a() } else { b() };
                    let updates = order.map(|home| Update { binding: Some(BindingId(holder as u16)), ..update(home, care_of, holder) });
                    cache.update(&updates, now).expect("accepted");
                    cache.home_views(now);
                    cache.handle_timeout(now);
                }
            });
        }
    });
    let last = |home| world.cache.home_view(home, world.now).expect("reserved").branches.len();
    assert_eq!((last(video), last(audio)), (2, 2));
}

// Ends

#[test]
fn a_lifetime_is_granted_up_to_the_longest_one_and_at_least_a_unit() {
    let mut world = World::new();
    let home = world.flow();
    let asking = |id, seconds| Update {
        binding: Some(BindingId(id)),
        lifetime: Some(Duration::from_secs(seconds)),
        mode: Mode::Fork,
        ..update(home, udp(&format!("192.0.2.{id}:5004")), u64::from(id))
    };
    world.bind(&asking(1, 0));
    world.bind(&asking(2, 1_000_000));
    let lifetimes = |world: &World| -> Vec<_> {
        let view = world.cache.home_view(home, world.now).expect("reserved");
        view.branches.iter().map(|branch| branch.lifetime.expect("limited").as_secs()).collect()
    };
    assert_eq!(lifetimes(&world), [4, 600]);
    world.pass(4_000);
    assert_eq!(lifetimes(&world), [596]);
}

#[test]
fn a_binding_with_a_lifetime_that_is_silent_ends_after_seventy_five_seconds() {
    let mut world = World::new();
    let home = world.flow();
    let (id, serial) = world.bind(&Update { lifetime: Some(Duration::from_secs(600)), ..update(home, a(), 1) });
    let (_, by_session) = world.bind(&Update { mode: Mode::Fork, ..update(home, b(), 2) });
    let gate = world.cache.gate(home).expect("reserved");
    world.pass(60_000);
    gate.heard(serial, world.now.mono);
    assert_eq!(world.cache.last_heard(home, serial), Some(world.now.mono));
    world.pass(74_999);
    assert_eq!(world.send(home), Ok(vec![a(), b()]));
    world.events();
    world.pass(1);
    assert_eq!(world.send(home), Ok(vec![b()]), "one that RTSP made lives by its session");
    let events = world.events();
    assert_eq!(events.iter().map(|event| (event.binding, event.kind)).collect::<Vec<_>>(), [(id, EventKind::Expired)]);
    assert_eq!(world.cache.last_heard(home, serial), None);
    assert!(world.cache.last_heard(home, by_session).is_some());
}

#[test]
fn what_was_silent_for_too_long_does_not_come_back_when_it_is_heard_before_the_timer() {
    let mut world = World::new();
    let home = world.flow();
    let (_, serial) = world.bind(&Update { lifetime: Some(Duration::from_secs(600)), ..update(home, a(), 1) });
    let gate = world.cache.gate(home).expect("reserved");
    world.skip(75_000);
    gate.heard(serial, world.now.mono);
    assert_eq!(world.send(home), Err(DropReason::NoBinding));
}

#[test]
fn the_next_deadline_is_always_later_than_the_time_that_was_handled() {
    let mut world = World::new();
    let home = world.try_reserve(OWNER, None, Some(5)).expect("reserved");
    let (_, serial) = world.bind(&Update { lifetime: Some(Duration::from_secs(30)), ..update(home, a(), 1) });
    world.bind(&Update { lifetime: Some(Duration::from_secs(20)), ..update(home, b(), 2) });
    let mut steps = 0;
    while let Some(deadline) = world.cache.poll_timeout() {
        assert!(deadline > world.now.mono);
        world.pass(deadline.since(world.now.mono).as_millis() as u64);
        steps += 1;
        assert!(steps < 10, "it settles");
    }
    assert_eq!(world.cache.owner(home), None);
    assert!(world.cache.last_heard(home, serial).is_none());
}

#[test]
fn whoever_waits_is_woken_at_every_change_with_no_lock_held() {
    use std::sync::{Arc, OnceLock};
    let cell: Arc<OnceLock<std::sync::Weak<flowsteer::steering::BindingCache>>> = Arc::default();
    let inner = Arc::clone(&cell);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let world = World::new();
    let now = world.now;
    let settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    let changed = Box::new(move |home, _| {
        // Uses the cache itself: would never return if a lock were held.
        let cache = inner.get().and_then(std::sync::Weak::upgrade).expect("set before the first change");
        cache.handle_timeout(now);
        sink.lock().expect("one thread").push(cache.home_view(home, now).map(|view| view.branches.len()));
    });
    let cache = Arc::new(flowsteer::steering::BindingCache::new(settings, random(3), changed));
    cell.set(Arc::downgrade(&cache)).expect("once");
    let world = World { cache, ..world };
    let home = world.flow();
    let (_, serial) = world.bind(&update(home, a(), 1));
    world.cache.remove(home, serial, EndReason::Removed, now).expect("removed");
    world.cache.release(home, now).expect("released");
    assert_eq!(*seen.lock().expect("one thread"), [Some(0), Some(0), Some(1), Some(0), None]);
}

#[test]
fn events_wait_in_bounded_number_and_the_oldest_are_lost_first() {
    let world = World::new();
    let home = world.flow();
    let refresh = Update { binding: Some(BindingId(1)), ..update(home, a(), 1) };
    for _ in 0..5_000 {
        world.bind(&refresh);
    }
    let kinds = world.kinds();
    assert_eq!(kinds.len(), 4_096);
    assert!(kinds.iter().all(|kind| *kind == EventKind::Refreshed), "the first one, that it was bound, is lost");
}

#[test]
fn a_holder_of_a_token_removes_its_own_binding_only() {
    let world = World::new();
    let (home, _) = world.playing();
    let authority = world.grant(&world.token(home, &Default::default()), "2001:db8:c2::140");
    let (own, _) = world.bind(&Update { authority: authority.clone(), mode: Mode::Fork, ..update(home, b(), 2) });
    let others = world.cache.home_view(home, world.now).expect("reserved").branches[0].branch.binding;
    let remove = |id, authority| world.cache.remove_as(home, id, authority, Holder(2), world.now);
    assert_eq!(remove(others, &authority), Err(SteeringError::NotPermitted));
    assert_eq!(remove(own, &authority), Ok(()));
    assert_eq!(remove(own, &authority), Err(SteeringError::UnknownBinding));
    assert_eq!(remove(others, &Authority::Owner(Owner::Presentation(8))), Err(SteeringError::NotPermitted));
    assert_eq!(remove(others, &Authority::HomeKey), Ok(()));
}

#[test]
fn the_home_address_of_another_server_gets_its_flow_itself_only_as_long_as_a_home_test_is_fresh() {
    let mut settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    settings.unbound_prefixes = vec!["2001:db8:ee::/64".parse().expect("a prefix")];
    let mut world = World::with(settings);
    let home = flowsteer::steering::HomeAddress("2001:db8:ee::77".parse().expect("an address"));
    let registration = |sequence, seconds| flowsteer::steering::ForeignRegistration {
        home,
        sequence,
        lifetime: Duration::from_secs(seconds),
        care_of: ip("2001:db8:c1::130"),
        sender: ip("2001:db8:c1::130"),
        asked: None,
        join: flowsteer::steering::Join::default(),
        media_source: source(),
    };
    let register = |world: &World, sequence, seconds| world.cache.register_foreign(&registration(sequence, seconds), world.now);
    assert_eq!(register(&world, 1, 9_000), Ok(Duration::from_secs(420)), "not for longer");
    assert_eq!(register(&world, 1, 100), Err(flowsteer::steering::RegistrationError::Sequence { last: 1 }));
    let label = world.cache.play_to(home, 7, Expectation::default(), None, world.now).expect("free");
    assert!(world.cache.serve_at_home(home, 7, (5004, 5005), None, world.now));
    let sent = |world: &World| {
        let mut gate = world.cache.gate(home).expect("reserved");
        let facts = flowsteer::steering::PacketFacts { home, label: label.bits(), ..facts(home) };
        gate.pass(&facts, 1, world.now).map(|route| route.branches.iter().map(|branch| branch.care_of.ip()).collect::<Vec<_>>())
    };
    assert_eq!(sent(&world), Ok(vec![ip("2001:db8:c1::130")]));
    assert_eq!(register(&world, 2, 0), Ok(Duration::ZERO), "removed");
    assert_eq!(sent(&world), Ok(vec![ip("2001:db8:ee::77")]), "to the home address itself");
    world.skip(419_999);
    assert_eq!(sent(&world), Ok(vec![ip("2001:db8:ee::77")]));
    world.skip(1);
    assert_eq!(sent(&world), Err(DropReason::NoBinding), "the test is too old");
    assert!(register(&world, 3, 0).is_ok() && register(&world, 4, 60).is_ok());
}
