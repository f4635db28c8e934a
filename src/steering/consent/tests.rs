use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn home(number: u16) -> HomeAddress {
    HomeAddress(Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, number]))
}

fn at(millis: u64) -> Mono {
    Mono::default() + Duration::from_millis(millis)
}

fn taker(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

/// A wish of a taker that asks itself.
fn wish(flows: &[(HomeAddress, Spi)], who: u8) -> Wish<'_> {
    Wish { flows, taker: taker(who), side: Side::Taker, by_itself: true, way: Way::Rtsp, pin: None }
}

fn asked(outcome: Result<(), Withheld>) -> QuestionId {
    match outcome {
        Err(Withheld::Asked(id)) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_yes_lets_the_same_key_at_the_same_address_pass_for_a_minute() {
    let (flows, other_key) = ([(home(1), Spi(7)), (home(2), Spi(8))], [(home(1), Spi(9))]);
    let mut consents = Consents::default();
    let id = asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(0)));
    assert_eq!(asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(100))), id, "it is asked once");
    consents.answer(id, true, at(1000)).expect("it is open");
    assert_eq!(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(60_999)), Ok(()));
    assert_eq!(consents.ask(&wish(&flows[1..], 1), &Policy::AskHolder, at(60_999)), Ok(()), "also for a part");
    asked(consents.ask(&wish(&flows, 2), &Policy::AskHolder, at(2000)));
    asked(consents.ask(&wish(&other_key, 1), &Policy::AskHolder, at(2000)));
    asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(61_000)));
}

#[test]
fn silence_is_no_and_a_no_is_not_asked_again_at_once() {
    let flows = [(home(1), Spi(7))];
    let mut consents = Consents::default();
    let id = asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(0)));
    assert_eq!(consents.poll_timeout(), Some(at(20_000)));
    assert_eq!(consents.open(at(19_999)).count(), 1);
    assert_eq!(consents.open(at(20_000)).count(), 0, "whoever looks first");
    assert_eq!(consents.answer(id, true, at(20_000)), Err(NoSuchQuestion));
    let next = asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(20_001)));
    assert_ne!(next, id);
    consents.answer(next, false, at(21_000)).expect("it is open");
    assert_eq!(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(40_999)), Err(Withheld::No));
    asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(41_000)));
    let became: Vec<Became> = std::iter::from_fn(|| consents.poll_event()).map(|event| event.became).collect();
    assert_eq!(became, [Became::Asked, Became::Lapsed, Became::Asked, Became::Answered(false), Became::Asked]);
}

#[test]
fn who_is_asked_follows_from_the_policy_and_from_who_asks() {
    let flows = [(home(1), Spi(7))];
    let hook = Policy::Webhook("http://localhost/".into());
    let pin = Policy::Pin(Pin::new("1234"));
    // Whether each side passes, by itself and for another device.
    for (policy, side, by_itself, outcome) in [
        (&Policy::AnyoneWithKey, Side::Taker, true, "passes"),
        (&Policy::AskHolder, Side::Taker, true, "holder"),
        (&Policy::AskHolder, Side::Holder, false, "passes"),
        (&Policy::AskHolder, Side::Operator, false, "passes"),
        (&Policy::AskTaker, Side::Taker, true, "passes"),
        (&Policy::AskTaker, Side::Holder, false, "taker"),
        (&Policy::AskTaker, Side::Operator, false, "taker"),
        (&Policy::Never, Side::Taker, true, "never"),
        (&Policy::Never, Side::Operator, false, "never"),
        (&Policy::Never, Side::Holder, true, "passes"),
        (&pin, Side::Taker, true, "needs a PIN"),
        (&pin, Side::Operator, false, "passes"),
        (&hook, Side::Holder, true, "webhook"),
        (&hook, Side::Operator, false, "webhook"),
    ] {
        let mut consents = Consents::default();
        let got = match consents.ask(&Wish { side, by_itself, ..wish(&flows, 1) }, policy, at(0)) {
            Ok(()) => "passes",
            Err(Withheld::Asked(_)) => consents.open(at(0)).next().expect("it is open").decider.as_str(),
            Err(Withheld::Never) => "never",
            Err(Withheld::PinNeeded) => "needs a PIN",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, outcome, "{policy:?} {side:?} by itself {by_itself}");
    }
}

#[test]
fn wrong_pins_cost_more_time_each_and_of_all_who_guess_together() {
    let flows = [(home(1), Spi(7))];
    let policy = Policy::Pin(Pin::new("4711"));
    let mut consents = Consents::default();
    let mut give = |who, pin, millis| consents.ask(&Wish { pin: Some(pin), ..wish(&flows, who) }, &policy, at(millis));
    for who in 1..=3 {
        assert_eq!(give(who, "0000", 0), Err(Withheld::PinWrong));
    }
    assert_eq!(give(4, "0001", 0), Err(Withheld::PinWrong));
    assert_eq!(give(5, "4711", 999), Err(Withheld::PinSlowed), "the right one as well");
    assert_eq!(give(5, "47110", 1000), Err(Withheld::PinWrong));
    assert_eq!(give(5, "4711", 2999), Err(Withheld::PinSlowed));
    assert_eq!(give(5, "4711", 3000), Ok(()));
    assert_eq!(give(5, "0000", 3001), Ok(()), "a yes is remembered");
    assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    assert!(!format!("{policy:?}").contains("4711"));
}

#[test]
fn questions_are_bounded_of_each_home_address_and_in_all() {
    let mut consents = Consents::default();
    for who in 0..MAX_OPEN_PER_HOME as u8 {
        asked(consents.ask(&wish(&[(home(1), Spi(7))], who), &Policy::AskHolder, at(0)));
    }
    assert_eq!(consents.ask(&wish(&[(home(1), Spi(7))], 200), &Policy::AskHolder, at(0)), Err(Withheld::Full));
    for number in 2..100 {
        let _ = consents.ask(&wish(&[(home(number), Spi(7))], 1), &Policy::AskHolder, at(0));
    }
    assert_eq!(consents.open(at(0)).count(), MAX_OPEN);
    for id in 1..=MAX_OPEN as u64 {
        consents.answer(QuestionId(id), true, at(1)).expect("it is open");
    }
    for number in 100..4000 {
        let id = asked(consents.ask(&wish(&[(home(number), Spi(7))], 1), &Policy::AskHolder, at(2)));
        consents.answer(id, true, at(2)).expect("it is open");
    }
    assert_eq!((consents.remembered.len(), consents.events.len()), (MAX_REMEMBERED, MAX_EVENTS));
    consents.handle_timeout(at(60_002));
    assert_eq!(consents.remembered.len(), 0);
}

#[test]
fn a_question_that_nobody_waits_for_or_comes_back_to_is_withdrawn() {
    let flows = [(home(1), Spi(7))];
    let mut consents = Consents::default();
    let ask = |consents: &mut Consents, way| asked(consents.ask(&Wish { way, ..wish(&flows, 1) }, &Policy::AskHolder, at(0)));
    let id = ask(&mut consents, Way::Rtsp);
    consents.hold(id);
    consents.hold(id);
    consents.let_go(id, false, at(1));
    assert_eq!(consents.open(at(1)).count(), 1, "another request waits");
    consents.let_go(id, false, at(2));
    assert_eq!(consents.open(at(2)).count(), 0);
    assert!(!consents.hold(id));
    assert_eq!(consents.answer(id, true, at(3)), Err(NoSuchQuestion));
    // Who was told to come back finds it open; so does who asked otherwise, whatever a connection does.
    let id = ask(&mut consents, Way::Rtsp);
    consents.hold(id);
    consents.let_go(id, true, at(7000));
    consents.hold(id);
    consents.let_go(id, false, at(7001));
    assert_eq!(consents.open(at(7001)).count(), 1);
    consents.answer(id, true, at(7002)).expect("it is open");
    consents.forget_answers();
    let id = ask(&mut consents, Way::BindingUpdate);
    assert_eq!(ask(&mut consents, Way::Rtsp), id);
    consents.hold(id);
    consents.let_go(id, false, at(8000));
    assert_eq!(consents.open(at(8000)).count(), 1);
    for _ in 0..MAX_WAITING {
        assert!(consents.hold(id));
    }
    assert!(!consents.hold(id), "so many wait, and the others are told at once");
    // Of one that is gone nothing is let go.
    consents.let_go(QuestionId(99), false, at(8000));
    let became: Vec<Became> = std::iter::from_fn(|| consents.poll_event()).map(|event| event.became).collect();
    assert_eq!(became, [Became::Asked, Became::Withdrawn, Became::Asked, Became::Answered(true), Became::Asked]);
}

#[test]
fn a_yes_to_what_was_asked_under_the_rules_before_lets_nobody_pass() {
    let flows = [(home(1), Spi(7))];
    let pin = Policy::Pin(Pin::new("4711"));
    let mut consents = Consents::default();
    let id = asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(0)));
    consents.forget_answers();
    assert_eq!((consents.open(at(1)).count(), consents.poll_timeout()), (0, None));
    assert_eq!(consents.answer(id, true, at(1)), Err(NoSuchQuestion));
    assert_eq!(consents.ask(&wish(&flows, 1), &pin, at(2)), Err(Withheld::PinNeeded));
    assert_ne!(asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(2))), id, "another question");
    let became: Vec<Became> = std::iter::from_fn(|| consents.poll_event()).map(|event| event.became).collect();
    assert_eq!(became, [Became::Asked, Became::Lapsed, Became::Asked]);
}

#[test]
fn who_asks_and_goes_again_and_again_asks_no_more_for_a_while() {
    let (flows, others) = ([(home(1), Spi(7))], [(home(1), Spi(8))]);
    let mut consents = Consents::default();
    for millis in 0..MAX_WITHDRAWN as u64 {
        let id = asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(millis)));
        consents.hold(id);
        consents.let_go(id, false, at(millis));
    }
    assert_eq!(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(100)), Err(Withheld::Full));
    asked(consents.ask(&wish(&others, 1), &Policy::AskHolder, at(100)));
    asked(consents.ask(&wish(&flows, 1), &Policy::AskHolder, at(20_001)));
    let lapsed = std::iter::from_fn(|| consents.poll_event()).filter(|event| event.became == Became::Lapsed).count();
    assert_eq!(lapsed, 0, "one that was withdrawn does not lapse");
    // A service is asked already, whoever goes.
    let id = asked(consents.ask(&wish(&flows, 2), &Policy::Webhook("http://localhost/".into()), at(20_001)));
    consents.hold(id);
    consents.let_go(id, false, at(20_002));
    consents.answer(id, true, at(20_003)).expect("it is open");
}

#[test]
fn the_strictest_policy_is_in_force_for_flows_that_go_together() {
    let strictest = Policy::AskHolder.or_stricter(Policy::AnyoneWithKey).or_stricter(Policy::Never).or_stricter(Policy::AskTaker);
    assert_eq!(strictest, Policy::Never);
    let pin = |text: &str| Policy::Pin(Pin::new(text));
    assert_eq!(pin("1").or_stricter(pin("1")), pin("1"));
    assert_eq!(pin("1").or_stricter(pin("2")), Policy::Never, "the PIN of one is none for the other");
    let hook = |url: &str| Policy::Webhook(url.into());
    assert_eq!(hook("http://a/").or_stricter(hook("http://b/")), Policy::Never);
    assert_eq!(pin("1").or_stricter(Policy::AskHolder).or_stricter(pin("2")), Policy::AskHolder);
    // Who opens a URL has not to be asked itself, and still needs the PIN of one of its flows.
    let flows = [(home(1), Spi(7)), (home(2), Spi(8))];
    for together in [pin("1").or_stricter(Policy::AskTaker), Policy::AskTaker.or_stricter(pin("1"))] {
        let mut consents = Consents::default();
        assert_eq!(consents.ask(&wish(&flows, 1), &together, at(0)), Err(Withheld::PinNeeded));
        assert_eq!(consents.ask(&Wish { pin: Some("1"), ..wish(&flows, 1) }, &together, at(0)), Ok(()));
    }
}

/// What is done in a step, `millis` after the step before.
#[derive(Clone, Debug)]
enum Step {
    Ask { home: u16, key: u32, who: u8 },
    Answer { question: usize, yes: bool },
    Tend,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        4 => (1_u16..4, 1_u32..3, 1_u8..4).prop_map(|(home, key, who)| Step::Ask { home, key, who }),
        3 => (0_usize..8, any::<bool>()).prop_map(|(question, yes)| Step::Answer { question, yes }),
        1 => Just(Step::Tend),
    ];
    prop::collection::vec((prop_oneof![Just(0_u64), 1_u64..3000, 15_000_u64..25_000, 55_000_u64..65_000], step), 1..60)
}

/// Name, what about, when, and the answer with its time.
type Asked = (u64, (u16, u32, u8), u64, Option<(bool, u64)>);

/// Everything that was ever asked and answered: each outcome is looked for in all of it.
#[derive(Default)]
struct Naive {
    asked: Vec<Asked>,
}

impl Naive {
    fn is_open(question: &Asked, now: u64) -> bool {
        question.3.is_none() && now < question.2 + 20_000
    }

    fn ask(&mut self, about: (u16, u32, u8), now: u64) -> Result<(), Withheld> {
        let last = self.asked.iter().filter(|question| question.1 == about).filter_map(|question| question.3).max_by_key(|(_, when)| *when);
        match last {
            Some((true, when)) if now < when + 60_000 => return Ok(()),
            Some((false, when)) if now < when + 20_000 => return Err(Withheld::No),
            _ => {}
        }
        let mut open = self.asked.iter().filter(|question| Self::is_open(question, now));
        if let Some(question) = open.clone().find(|question| question.1 == about) {
            return Err(Withheld::Asked(QuestionId(question.0)));
        }
        if open.clone().count() >= MAX_OPEN || open.by_ref().filter(|question| question.1.0 == about.0).count() >= MAX_OPEN_PER_HOME {
            return Err(Withheld::Full);
        }
        let id = self.asked.len() as u64 + 1;
        self.asked.push((id, about, now, None));
        Err(Withheld::Asked(QuestionId(id)))
    }
}

proptest! {
    #[test]
    fn it_does_as_one_who_remembers_everything(steps in steps()) {
        let (mut consents, mut naive, mut now) = (Consents::default(), Naive::default(), 0);
        for (later, step) in steps {
            now += later;
            match step {
                Step::Ask { home: number, key, who } => {
                    let outcome = consents.ask(&wish(&[(home(number), Spi(key))], who), &Policy::AskHolder, at(now));
                    prop_assert_eq!(outcome, naive.ask((number, key, who), now));
                }
                Step::Answer { question, yes } => {
                    let id = naive.asked.len().saturating_sub(question) as u64;
                    let known = naive.asked.iter_mut().find(|known| known.0 == id && Naive::is_open(known, now));
                    let outcome = consents.answer(QuestionId(id), yes, at(now));
                    prop_assert_eq!(outcome.is_ok(), known.is_some());
                    known.into_iter().for_each(|known| known.3 = Some((yes, now)));
                }
                Step::Tend => consents.handle_timeout(at(now)),
            }
            let open: Vec<u64> = consents.open(at(now)).map(|question| question.id.0).collect();
            let expected: Vec<u64> = naive.asked.iter().filter(|known| Naive::is_open(known, now)).map(|known| known.0).collect();
            prop_assert_eq!(open, expected);
        }
    }
}
