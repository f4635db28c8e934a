use proptest::prelude::*;

use super::*;

/// Writes bits, the highest first.
#[derive(Default)]
struct Writer {
    bits: Vec<bool>,
}

impl Writer {
    fn put(mut self, value: u32, count: u32) -> Self {
        self.bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn octets(&self, octets: &[u8]) -> Self {
        let mut writer = Self { bits: self.bits.clone() };
        for octet in octets {
            writer = writer.put(u32::from(*octet), 8);
        }
        writer
    }

    fn finish(&self) -> Vec<u8> {
        self.bits.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |octet, (at, bit)| octet | u8::from(*bit) << (7 - at))).collect()
    }
}

/// StreamMuxConfig of version 0 with LC at 48 kHz, stereo, and so many access units an element.
fn configured(count: u32) -> Writer {
    let writer = Writer::default().put(0, 1).put(0, 1).put(1, 1).put(count - 1, 6).put(0, 4).put(0, 3);
    // AudioSpecificConfig, frameLengthType 0, latmBufferFullness, no other data, no check.
    writer.put(0x1190, 16).put(0, 3).put(0xff, 8).put(0, 1).put(0, 1)
}

fn read(octets: &[u8], mux: &mut Option<Mux>) -> Option<Vec<Vec<u8>>> {
    let mut payloads = Vec::new();
    element(octets, mux, &mut payloads)?;
    Some(payloads.iter().map(|payload| copied(octets, payload.at, payload.size as usize * 8).expect("is there")).collect())
}

#[test]
fn an_element_says_what_its_access_units_are_and_where_they_lie() {
    let mut mux = None;
    let one = configured(1).put(255, 8).put(1, 8).octets(&[7; 256]).finish();
    assert_eq!(read(&one, &mut mux), Some(vec![vec![7; 256]]));
    let known = mux.clone().expect("is known");
    assert_eq!(known.config, AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 });
    assert_eq!(known.samples, 1_024);
    let same = Writer::default().put(1, 1).put(3, 8).octets(&[1, 2, 3]).finish();
    assert_eq!(read(&same, &mut mux), Some(vec![vec![1, 2, 3]]));
    assert_eq!(read(&same, &mut None), None, "nothing is known of it");
    let two = configured(2).put(2, 8).octets(&[1, 2]).put(1, 8).octets(&[9]).finish();
    assert_eq!(read(&two, &mut mux), Some(vec![vec![1, 2], vec![9]]));
    assert_eq!(read(&two[..two.len() - 1], &mut mux), None, "cut short");
}

#[test]
fn a_later_version_says_how_long_its_configuration_is() {
    // HE-AAC v2 announced behind a core of one channel at 24 kHz, with other data and a check.
    let specific =
        Writer::default().put(2, 5).put(6, 4).put(1, 4).put(0, 3).put(0x2b7, 11).put(5, 5).put(1, 1).put(3, 4).put(0x548, 11).put(1, 1);
    let len = specific.bits.len() as u32;
    let mut writer = Writer::default().put(0, 1).put(1, 1).put(0, 1).put(0, 2).put(0, 8).put(1, 1).put(0, 13).put(0, 2).put(len, 8);
    writer.bits.extend(&specific.bits);
    let octets =
        writer.put(0, 3).put(0, 8).put(1, 1).put(0, 2).put(8, 8).put(1, 1).put(0x55, 8).put(1, 8).octets(&[4]).put(0xaa, 8).finish();
    let mut mux = None;
    assert_eq!(read(&octets, &mut mux), Some(vec![vec![4]]));
    let config = mux.expect("is known").config;
    assert_eq!((config.sample_rate, config.channels, config.audio_specific_config), (24_000, 2, specific.finish()));
}

#[test]
fn what_is_not_read_is_refused() {
    let element = |programs: u32, layers: u32, specific: u32| {
        let writer = Writer::default().put(0, 1).put(0, 1).put(1, 1).put(0, 6).put(programs, 4).put(layers, 3);
        writer.put(specific, 16).put(0, 3).put(0xff, 8).put(0, 2).put(1, 8).octets(&[7]).finish()
    };
    let is_read = |octets: Vec<u8>| read(&octets, &mut None).is_some();
    assert!(is_read(element(0, 0, 0x1190)));
    assert!(!is_read(element(1, 0, 0x1190)), "two programs");
    assert!(!is_read(element(0, 1, 0x1190)), "two layers");
    assert!(!is_read(element(0, 0, 0x1180)), "channels in a program config element");
    assert!(!is_read(element(0, 0, 0xb990)), "an error resilient coding");
    assert!(!is_read(element(0, 0, 0x1690)), "no such rate");
    let short =
        Writer::default().put(0, 2).put(1, 1).put(0, 13).put(0x1194, 16).put(0, 3).put(0xff, 8).put(0, 2).put(1, 8).octets(&[7]).finish();
    let mut mux = None;
    assert!(read(&short, &mut mux).is_some());
    assert_eq!(mux.map(|mux| mux.samples), Some(960));
}

proptest! {
    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut payloads = Vec::new();
        let mut mux = None;
        let _ = element(&noise, &mut mux, &mut payloads);
        mux = read_config();
        let _ = element(&noise, &mut mux, &mut payloads);
        prop_assert!(payloads.iter().all(|payload| payload.at + payload.size as usize * 8 <= noise.len() * 8));
    }
}

fn read_config() -> Option<Mux> {
    let mut mux = None;
    read(&configured(1).put(0, 8).finish(), &mut mux)?;
    mux
}
