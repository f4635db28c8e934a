//! A `slides.toml` of noise, and pictures of noise in the files that it lists; what the index says must hold.

#![no_main]

use std::sync::Arc;

use flowsteer::library::slides::show::{SlideShow, index};
use flowsteer::library::{ReadAt, TitlePath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|octet| *octet == 0).unwrap_or(input.len());
    let (text, pictures) = input.split_at(at);
    let Ok(show) = SlideShow::parse(&String::from_utf8_lossy(text)) else { return };
    let pictures = pictures.get(1..).unwrap_or_default().to_vec();
    // Each listed file is the rest from another place on.
    let slides = show.slides.unwrap_or_default().into_iter().zip(0u64..).map(|(slide, number)| {
        let size = pictures.len() as u64;
        (slide, if number % 5 == 4 { Err("there is no such file") } else { Ok((number % 3).min(size)..size) })
    });
    let slides: Vec<_> = slides.collect();
    let Ok(title) = index(&slides, Arc::new(pictures.clone()), TitlePath::new("slides.toml").expect("a path")) else { return };
    let track = &title.tracks[0];
    let mut time = 0;
    for position in 0..track.len() {
        let unit = track.access_unit(position).expect("within the index");
        assert!(unit.random_access && unit.decode_time == time && unit.presentation_time == time);
        time += i64::from(unit.duration);
        // Each is one of few.
        if position < 64 {
            let mut octets = vec![0; unit.size as usize];
            pictures.read_exact_at(&mut octets, unit.offset).expect("it lies in a file");
            assert!(octets.starts_with(&[0xff, 0xd8]) && octets.ends_with(&[0xff, 0xd9]));
        }
    }
    assert_eq!(title.duration.to_ticks(track.timescale), time);
});
