use proptest::prelude::*;

use super::*;
use crate::library::jpeg::tests::picture;

fn slide(file: &str, seconds: f64) -> Slide {
    Slide { file: TitlePath::new(file).expect("a path"), seconds, rate: 1 }
}

fn why(text: &str) -> String {
    SlideShow::parse(text).expect_err("it is refused").reason
}

#[test]
fn slides_and_how_long_they_are_shown_are_read() {
    assert_eq!(SlideShow::parse(""), Ok(SlideShow { title: None, seconds: 5.0, rate: 5, slides: None }));
    assert_eq!(SlideShow::parse("seconds = 2\nrate = 25"), Ok(SlideShow { title: None, seconds: 2.0, rate: 25, slides: None }));
    let text = "title = \" Rain,\\nmostly \"\nseconds = 2.5\nrate = 1\n[[slides]]\nfile = \"a.jpg\"\n[[slides]]\nfile = \"more/b ü.JPG\"\nseconds = 0.04\n";
    let slides = vec![slide("a.jpg", 2.5), slide("more/b ü.JPG", 0.04)];
    assert_eq!(SlideShow::parse(text), Ok(SlideShow { title: Some("Rain, mostly".into()), seconds: 2.5, rate: 1, slides: Some(slides) }));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    assert!(why("seconds = 1\nslides = 3").starts_with("line 2: "));
    assert!(why("\n\nsecond = 1").starts_with("line 3: unknown field `second`"));
    assert!(why("[[slides]]\nseconds = 1").contains("missing field `file`"));
    for seconds in ["0", "-1", "0.03", "nan", "inf", "86401"] {
        assert_eq!(why(&format!("seconds = {seconds}")), "a slide can be shown for 0.04 to 86400 seconds", "{seconds}");
    }
    for title in ["".to_owned(), " \\n ".to_owned(), "x".repeat(201)] {
        assert_eq!(why(&format!("title = \"{title}\"")), "the title has 1 to 200 characters");
    }
    for rate in [0, 26] {
        assert_eq!(why(&format!("rate = {rate}")), "the rate is 1 to 25 times a second");
    }
    for file in ["../a.jpg", "/etc/a.jpg", "more/../../a.jpg", "", ".hidden.jpg", "more//a.jpg", "a\\\\b.jpg", "./a.jpg", "a\\u0000"] {
        let reason = why(&format!("[[slides]]\nfile = \"{file}\""));
        assert!(reason.ends_with("is no file below the folder of the slides"), "{file}: {reason}");
    }
    let many = "[[slides]]\nfile = \"a.jpg\"\n".repeat(MAX_SLIDES + 1);
    assert_eq!(why(&many), "there are more than 10000 slides");
    assert!(!why("seconds = \"a\\nb\u{7}\"").contains(char::is_control));
}

/// Pictures one behind the other, and where each lies.
fn pictures(octets: &[Vec<u8>]) -> (Arc<dyn ReadAt>, Vec<Place>) {
    let mut end = 0;
    let places = octets.iter().map(|octets| {
        let start = end;
        end += octets.len() as u64;
        Ok(start..end)
    });
    let places = places.collect();
    (Arc::new(octets.concat()), places)
}

fn shown_at(title: &Title) -> Vec<(u64, u32, i64, u32)> {
    let track = &title.tracks[0];
    let units = (0..track.len()).filter_map(|position| track.access_unit(position));
    units.map(|unit| (unit.offset, unit.size, unit.presentation_time, unit.duration)).collect()
}

fn made(slides: &[(Slide, Place)], source: Arc<dyn ReadAt>) -> Result<Title, Problem> {
    index(slides, source, TitlePath::new("a/slides.toml").expect("a path"))
}

#[test]
fn a_picture_goes_out_again_as_long_as_it_is_shown() {
    let one = picture(&[1, 2, 3], 0);
    let len = one.len() as u32;
    let (source, places) = pictures(&[one.clone(), [&one[..], &[0; 7]].concat()]);
    let slides =
        [(slide("a.jpg", 2.5), places[0].clone()), (slide("b.jpg", 0.1), places[1].clone()), (slide("a.jpg", 1.0), places[0].clone())];
    let title = made(&slides, source).expect("it plays");
    let second = u64::from(len);
    let expected = [
        (0, len, 0, 75_000),
        (0, len, 75_000, 75_000),
        (0, len, 150_000, 75_000),
        (second, len, 225_000, 9_000),
        (0, len, 234_000, 90_000),
    ];
    assert_eq!(shown_at(&title), expected);
    assert_eq!((title.duration, &title.remark), (MediaTime::from_ticks(324_000, CLOCK), &None));
    assert_eq!(title.tracks[0].codec, Codec::Jpeg(PictureSize { width: 320, height: 180 }));
    assert!(expected.iter().enumerate().all(|(position, _)| title.tracks[0].access_unit(position).is_some_and(|unit| unit.random_access)));
}

#[test]
fn what_cannot_be_shown_is_named_once_and_the_rest_plays() {
    let one = picture(&[1, 2, 3], 0);
    let cut = one[..one.len() - 1].to_vec();
    let at = one.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame header");
    let mut progressive = one.clone();
    progressive[at + 1] = 0xc2;
    let (source, places) = pictures(&[one, cut, progressive, b"\x89PNG".to_vec(), vec![]]);
    let names = ["a.jpg", "cut.jpg", "progressive.jpg", "b.png", "empty.jpg"];
    let mut slides: Vec<_> = names.iter().zip(places).map(|(name, place)| (slide(name, 1.0), place)).collect();
    slides.push((slide("gone\u{1b}.jpg", 1.0), Err("there is no such file")));
    slides.push(slides[1].clone());
    let title = made(&slides, Arc::clone(&source)).expect("the first one plays");
    assert_eq!(title.tracks[0].len(), 1);
    let reason = title.remark.expect("a remark").reason;
    let broken = "it is no JPEG picture, or not all of it is there";
    let process = "a JPEG picture is not coded in the baseline process";
    let left_out = [("cut.jpg", broken), ("progressive.jpg", process), ("b.png", broken), ("empty.jpg", broken)];
    let named: Vec<_> = left_out.iter().map(|(name, why)| format!("\"{name}\" is left out: {why}")).collect();
    assert_eq!(reason, format!("{}; and 1 more", named.join("; ")));
    let alone = made(&slides[5..6], Arc::clone(&source)).expect_err("nothing to show").reason;
    assert_eq!(alone, "\"gone .jpg\" is left out: there is no such file");
    assert_eq!(made(&[], source).expect_err("nothing to show").reason, "there is no JPEG picture in the folder");
}

#[test]
fn what_is_too_much_is_refused() {
    let (source, places) = pictures(&[picture(&[1, 2, 3], 0)]);
    let slides = vec![(slide("a.jpg", 86_400.0), places[0].clone()); 12];
    assert_eq!(made(&slides, Arc::clone(&source)).expect_err("too long").reason, "pictures would go out more than 1000000 times");
    let large = [(slide("a.jpg", 1.0), Ok(0..MAX_FILE + 1))];
    assert_eq!(made(&large, source).expect_err("too large").reason, "\"a.jpg\" is left out: the file is too large");
}

proptest! {
    #[test]
    fn times_go_on_without_gaps_and_pictures_go_out_as_often_as_asked(lasts in prop::collection::vec(40u32..10_000, 1..20), rate in 1u32..=25) {
        let (source, places) = pictures(&[picture(&[1, 2, 3], 0)]);
        let lasting = |lasts: &u32| Slide { rate, ..slide("a.jpg", f64::from(*lasts) / 1000.0) };
        let slides: Vec<_> = lasts.iter().map(|lasts| (lasting(lasts), places[0].clone())).collect();
        let title = made(&slides, source).expect("it plays");
        let units = shown_at(&title);
        let mut time = 0;
        for (_, _, at, duration) in &units {
            prop_assert_eq!(*at, time);
            prop_assert!((1..=CLOCK.hertz() / rate + 1).contains(duration));
            time += i64::from(*duration);
        }
        prop_assert_eq!(time, lasts.iter().map(|lasts| i64::from(*lasts) * 90).sum::<i64>());
        let begins = lasts.iter().scan(0, |time, lasts| { let at = *time; *time += i64::from(*lasts) * 90; Some(at) });
        for at in begins {
            prop_assert!(units.iter().any(|unit| unit.2 == at), "a slide begins at {}", at);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = SlideShow::parse(&text);
    }
}
