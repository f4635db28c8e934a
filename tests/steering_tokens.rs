//! Take-over tokens: what they are made of, what they are good for, and when they are refused.

mod steering_fixture;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use flowsteer::steering::keys::{KeyParameters, session_key};
use flowsteer::steering::{Authority, GrantOptions, HomeAddress, Key, Owner, Proof, Reserve, SteeringError, TokenError, Update, token};
use steering_fixture::*;

const A: &str = "2001:db8:c1::130";
const B: &str = "2001:db8:c2::140";

fn verify(world: &World, text: &str, peer: Option<&str>) -> Result<(), TokenError> {
    world.cache.verify_token(text, peer.map(ip), world.now).map(|_| ())
}

fn by_token(home: HomeAddress, authority: Authority, place: flowsteer::steering::CareOf, holder: u64) -> Update {
    Update { authority, ..update(home, place, holder) }
}

#[test]
fn a_token_is_sixty_eight_octets_a_flow_and_has_no_key_in_it() {
    let world = World::new();
    let homes = [world.flow(), world.flow()];
    let grants = homes.map(|home| world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect("issued"));
    let text = token(&grants);
    let octets = URL_SAFE_NO_PAD.decode(&text).expect("strict base64url");
    assert_eq!(octets.len(), 136);
    for (record, grant) in octets.chunks(68).zip(&grants) {
        let parameters = &grant.parameters;
        let mut expected = parameters.home.0.octets().to_vec();
        expected.extend(grant.parent.0.to_be_bytes());
        expected.extend(parameters.transfer_id.to_be_bytes());
        expected.extend(LABEL.bits().to_be_bytes());
        expected.extend((world.now.utc.unix_seconds() + 600).to_be_bytes());
        expected.extend(source().octets());
        let proof = grant.key.authenticate(&[b"take-over", &expected]);
        expected.extend(proof);
        assert_eq!(record, expected);
        assert!(!record.windows(8).any(|part| grant.key.expose().windows(8).any(|key| key == part)));
        assert!(grant.spi.0 >= 0x8000_0000 && grant.parent.0 < 0x8000_0000);
    }
    let verified = world.cache.verify_token(&text, Some(ip(B)), world.now).expect("good");
    assert_eq!(verified.iter().map(|grant| (grant.home, grant.label, grant.owner)).collect::<Vec<_>>(), homes.map(|h| (h, LABEL, OWNER)));
}

#[test]
fn a_context_derived_by_the_holder_of_the_home_key_verifies_without_having_been_issued() {
    let world = World::new();
    let request = Reserve { owner: OWNER, address: None, lifetime: None, media_source: source() };
    let reserved = world.cache.reserve(&request, world.now).expect("reserved");
    world.cache.authorise(reserved.home, LABEL, Default::default()).expect("authorised");
    let validity_end = world.now.utc.unix_seconds() + 60;
    let make = |key: &Key| {
        let (home, media_source) = (reserved.home, source());
        let parameters = KeyParameters { home, label: LABEL, validity_end, media_source, transfer_id: 7, identity: None };
        let (spi, key) = session_key(key, &parameters);
        let mut octets = home.0.octets().to_vec();
        for part in [&reserved.spi.0.to_be_bytes()[..], &[0, 0, 0, 7], &LABEL.bits().to_be_bytes(), &validity_end.to_be_bytes()] {
            octets.extend(part);
        }
        octets.extend(media_source.octets());
        octets.extend(key.authenticate(&[b"take-over", &octets]));
        (spi, URL_SAFE_NO_PAD.encode(octets))
    };
    let (spi, good) = make(&reserved.key);
    assert_eq!(verify(&world, &good, None), Ok(()));
    assert_eq!(verify(&world, &make(&Key::new([3; 32])).1, None), Err(TokenError::Wrong));
    world.cache.revoke(reserved.home, Some(spi)).expect("revoked");
    assert_eq!(verify(&world, &good, None), Err(TokenError::Revoked));
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    let world = World::new();
    let home = world.flow();
    let text = world.token(home, &GrantOptions::default());
    let octets = URL_SAFE_NO_PAD.decode(&text).expect("base64url");
    for bit in 0..octets.len() * 8 {
        let mut altered = octets.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let error = verify(&world, &URL_SAFE_NO_PAD.encode(altered), Some(B)).expect_err("altered");
        assert!(matches!(error, TokenError::Wrong | TokenError::Malformed), "bit {bit}: {error}");
    }
    assert_eq!(verify(&world, &text, Some(B)), Ok(()));
}

#[test]
fn only_the_canonical_text_is_a_token() {
    let world = World::new();
    let home = world.flow();
    let text = world.token(home, &GrantOptions::default());
    let octets = URL_SAFE_NO_PAD.decode(&text).expect("base64url");
    // 68 octets leave two bits of the last letter unused.
    let last = text.chars().last().expect("not empty");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = alphabet.find(last).expect("a letter of it");
    let loose = format!("{}{}", &text[..text.len() - 1], &alphabet[index + 1..index + 2]);
    let mut cases = vec![
        String::new(),
        URL_SAFE.encode(&octets),
        format!("{text} "),
        format!("{text}\n"),
        loose,
        text[..text.len() - 1].to_owned(),
        "é".repeat(40),
        URL_SAFE_NO_PAD.encode(&octets[..67]),
        URL_SAFE_NO_PAD.encode([&octets[..], &[0]].concat()),
        URL_SAFE_NO_PAD.encode([&octets[..], &octets[..]].concat()),
        URL_SAFE_NO_PAD.encode(vec![0; 68 * 17]),
        "A".repeat(100_000_000 / 100),
    ];
    let other_alphabet = STANDARD_NO_PAD.encode(&octets);
    if other_alphabet != text {
        cases.push(other_alphabet);
    }
    for case in cases {
        assert_eq!(verify(&world, &case, None), Err(TokenError::Malformed), "{}", &case[..case.len().min(100)].escape_debug());
    }
}

#[test]
fn a_token_ends_after_ten_minutes_unless_it_says_at_most_a_day_and_with_the_home_key() {
    for (asked, lives) in [(None, 600), (Some(20), 20), (Some(1_000_000), 86_400)] {
        let mut world = World::new();
        let home = world.flow();
        let text = world.token(home, &GrantOptions { lifetime: asked.map(Duration::from_secs), ..Default::default() });
        world.pass(lives * 1000 - 1);
        assert_eq!(verify(&world, &text, None), Ok(()));
        world.pass(1);
        assert_eq!(verify(&world, &text, None), Err(TokenError::Expired));
    }
    let world = World::new();
    let home = world.try_reserve(Owner::KeyHolder, None, Some(100)).expect("reserved");
    world.cache.authorise(home, LABEL, Default::default()).expect("authorised");
    let grant = world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect("issued");
    assert_eq!(grant.parameters.validity_end, world.now.utc.unix_seconds() + 100);
    let none = GrantOptions { lifetime: Some(Duration::ZERO), ..Default::default() };
    assert_eq!(world.cache.issue_grant(home, &none, world.now).expect_err("no time"), TokenError::Expired);
}

#[test]
fn a_token_ends_by_the_wall_clock_also_where_the_clocks_step_apart() {
    let mut world = World::new();
    let home = world.flow();
    let text = world.token(home, &GrantOptions::default());
    world.now.mono += Duration::from_secs(10_000);
    assert_eq!(verify(&world, &text, None), Ok(()));
    world.now.utc = world.now.utc + Duration::from_secs(600);
    assert_eq!(verify(&world, &text, None), Err(TokenError::Expired));
}

#[test]
fn a_token_does_not_outlive_its_home_address() {
    let mut world = World::new();
    let home = world.flow();
    let text = world.token(home, &GrantOptions::default());
    let stale = world.grant(&text, B);
    world.cache.release(home, world.now).expect("released");
    assert_eq!(verify(&world, &text, None), Err(TokenError::Wrong));
    world.pass(30_000);
    world.try_reserve(OWNER, Some(home), None).expect("reserved");
    world.cache.authorise(home, LABEL, Default::default()).expect("authorised");
    assert_eq!(verify(&world, &text, None), Err(TokenError::Wrong), "another home key");
    assert_eq!(world.refusal(&by_token(home, stale, b(), 2)), SteeringError::NotPermitted);
}

#[test]
fn a_token_moves_its_own_flow_from_a_proven_address_and_no_other() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let other = world.flow();
    let authority = world.grant(&world.token(home, &GrantOptions::default()), B);
    assert_eq!(world.refusal(&by_token(other, authority.clone(), b(), 2)), SteeringError::NotPermitted);
    let unproven = Update { proof: Proof::Missing, ..by_token(home, authority.clone(), b(), 2) };
    assert_eq!(world.refusal(&unproven), SteeringError::CareOfUnproven);
    let trusted = Update { proof: Proof::Trusted, ..by_token(home, authority.clone(), udp("[::1]:5004"), 2) };
    assert_eq!(world.refusal(&trusted), SteeringError::CareOfUnproven);
    let first = world.cache.home_view(home, world.now).expect("reserved").branches[0].branch.binding;
    let foreign = Update { binding: Some(first), ..by_token(home, authority.clone(), b(), 2) };
    assert_eq!(world.refusal(&foreign), SteeringError::NotPermitted, "another device's binding");
    world.bind_started(&by_token(home, authority, b(), 2));
    world.pass(2_000);
    assert_eq!(world.send(home), Ok(vec![b()]));
}

#[test]
fn the_first_peer_that_plays_with_a_token_keeps_it() {
    let world = World::new();
    let (home, _) = world.playing();
    let text = world.token(home, &GrantOptions::default());
    assert_eq!((verify(&world, &text, Some(A)), verify(&world, &text, Some(B))), (Ok(()), Ok(())), "asking is not playing");
    // Both have passed the check before either plays.
    let (first, second) = (world.grant(&text, B), world.grant(&text, "192.0.2.140"));
    world.bind(&by_token(home, first.clone(), b(), 2));
    assert_eq!(world.refusal(&by_token(home, second, c(), 3)), SteeringError::NotPermitted);
    assert_eq!(verify(&world, &text, Some("192.0.2.140")), Err(TokenError::OtherPeer));
    assert_eq!(verify(&world, &text, Some(B)), Ok(()));
    world.bind(&by_token(home, first, udp("[2001:db8:c2::140]:6002"), 4));
}

#[test]
fn a_reusable_token_is_for_several_peers() {
    let world = World::new();
    let (home, _) = world.playing();
    let text = world.token(home, &GrantOptions { reusable: true, ..Default::default() });
    world.bind(&by_token(home, world.grant(&text, B), b(), 2));
    world.bind(&by_token(home, world.grant(&text, "192.0.2.140"), c(), 3));
}

#[test]
fn a_refused_update_claims_nothing() {
    let world = World::new();
    let (home, _) = world.playing();
    let text = world.token(home, &GrantOptions::default());
    let authority = world.grant(&text, B);
    let unacceptable = Update { proof: Proof::RequestPeer(ip(B)), ..by_token(home, authority, udp("[2001:db8:c2::140]:0"), 2) };
    // Port 0 and the next one.
    assert_eq!(world.refusal(&unacceptable), SteeringError::CareOfUnacceptable);
    assert_eq!(verify(&world, &text, Some(A)), Ok(()));
}

#[test]
fn claiming_by_hand_binds_too_and_only_what_is_honoured() {
    let world = World::new();
    let (home, _) = world.playing();
    let text = world.token(home, &GrantOptions::default());
    let grants = world.cache.verify_token(&text, None, world.now).expect("good");
    world.cache.claim(&grants, ip(B), world.now);
    world.cache.claim(&grants, ip(A), world.now);
    assert_eq!((verify(&world, &text, Some(A)), verify(&world, &text, Some(B))), (Err(TokenError::OtherPeer), Ok(())));
    world.cache.revoke(home, None).expect("revoked");
    world.cache.claim(&grants, ip(B), world.now);
    assert_eq!(verify(&world, &text, Some(B)), Err(TokenError::Revoked), "a claim brings nothing back");
}

#[test]
fn one_token_is_revoked_or_all_and_those_that_were_verified_before() {
    let world = World::new();
    let (home, _) = world.playing();
    let grants = [0, 1].map(|_| world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect("issued"));
    let [one, other] = grants.each_ref().map(|grant| token(std::slice::from_ref(grant)));
    let before = world.grant(&one, B);
    world.cache.revoke(home, Some(grants[0].spi)).expect("revoked");
    assert_eq!((verify(&world, &one, None), verify(&world, &other, None)), (Err(TokenError::Revoked), Ok(())));
    assert_eq!(world.refusal(&by_token(home, before, b(), 2)), SteeringError::NotPermitted);
    world.cache.revoke(home, None).expect("revoked");
    assert_eq!(verify(&world, &other, None), Err(TokenError::Revoked));
    let later = world.token(home, &GrantOptions::default());
    assert_eq!(verify(&world, &later, None), Ok(()), "one that is issued later is good");
    let unknown = HomeAddress("2001:db8:f::9".parse().expect("an address"));
    assert_eq!(world.cache.revoke(unknown, None), Err(TokenError::NoFlow));
}

#[test]
fn nothing_that_was_revoked_comes_back_when_the_records_run_over() {
    let world = World::new();
    let (home, _) = world.playing();
    let issue = || world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect("issued");
    let text = |grant: &flowsteer::steering::Grant| token(std::slice::from_ref(grant));
    let revoked = issue();
    world.cache.revoke(home, Some(revoked.spi)).expect("revoked");
    for _ in 0..200 {
        world.cache.revoke(home, Some(issue().spi)).expect("revoked");
    }
    assert_eq!(verify(&world, &text(&revoked), None), Err(TokenError::Revoked));
}

#[test]
fn a_token_whose_peer_is_forgotten_is_refused() {
    let world = World::new();
    let (home, _) = world.playing();
    let issue = || world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect("issued");
    let text = |grant: &flowsteer::steering::Grant| token(std::slice::from_ref(grant));
    let bound = issue();
    world.bind(&by_token(home, world.grant(&text(&bound), B), b(), 2));
    let newest: Vec<_> = (0..200).map(|_| issue()).collect();
    assert_eq!(verify(&world, &text(&bound), Some(A)), Err(TokenError::Revoked));
    assert_eq!(verify(&world, &text(&newest[199]), Some(A)), Ok(()));
}

#[test]
fn grants_that_have_ended_make_room_and_cost_those_that_live_nothing() {
    let mut world = World::new();
    let (home, _) = world.playing();
    let lasting = world.token(home, &GrantOptions { lifetime: Some(Duration::from_secs(80_000)), ..Default::default() });
    for _ in 0..300 {
        world.token(home, &GrantOptions::default());
        world.pass(30_000);
    }
    assert_eq!(verify(&world, &lasting, Some(B)), Ok(()));
}

#[test]
fn a_key_that_is_bound_to_an_identity_is_another_key_and_its_token_verifies() {
    let world = World::new();
    let home = world.flow();
    let named = GrantOptions { identity: Some("wall-display@example.net".to_owned()), ..Default::default() };
    let text = world.token(home, &named);
    assert_eq!(verify(&world, &text, Some(B)), Ok(()));
    let grant = world.cache.issue_grant(home, &named, world.now).expect("issued");
    let unnamed = KeyParameters { identity: None, ..grant.parameters.clone() };
    assert_ne!(session_key(&Key::new([0; 32]), &grant.parameters).0, session_key(&Key::new([0; 32]), &unnamed).0);
    for identity in [String::new(), "x".repeat(254)] {
        let options = GrantOptions { identity: Some(identity), ..Default::default() };
        assert_eq!(world.cache.issue_grant(home, &options, world.now).expect_err("no identity"), TokenError::Malformed);
    }
}

#[test]
fn there_is_no_token_where_no_label_is_authorised() {
    let world = World::new();
    let home = world.reserve();
    assert_eq!(world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect_err("no flow"), TokenError::NoFlow);
}

#[test]
fn keys_and_grants_do_not_show_their_secrets() {
    let world = World::new();
    let home = world.flow();
    let grant = world.cache.issue_grant(home, &GrantOptions::default(), world.now).expect("issued");
    let shown = format!("{grant:?}");
    assert!(!shown.contains(&grant.key.expose_hex()) && !shown.contains(&format!("{:?}", grant.key.expose())));
    assert!(!shown.contains("record"), "the token is a secret too: {shown}");
}
