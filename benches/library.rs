//! How long the index of a two-hour film takes: `cargo bench --bench library`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use divan::Bencher;
use flowsteer::library::file::Stamp;
use flowsteer::library::record::{Wanted, read_index, write_index};
use flowsteer::library::{ReadAt, TitlePath, container};
use flowsteer::quantities::MediaTime;

fn main() {
    divan::main();
}

fn boxed(kind: &[u8; 4], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

fn full(kind: &[u8; 4], fields: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let octets: Vec<u8> = std::iter::once(0).chain(fields).flat_map(u32::to_be_bytes).collect();
    boxed(kind, octets)
}

fn track(id: u32, handler: &[u8; 4], timescale: u32, entry: &[u8], tables: &[Vec<u8>], start: u32) -> Vec<u8> {
    let header = full(b"tkhd", [0, 0, id].into_iter().chain([0; 17]));
    let media_header = full(b"mdhd", [0, 0, timescale, 0, 0x55c4_0000]);
    let handler = boxed(b"hdlr", [&[0; 8][..], handler, &[0; 13]].concat());
    let descriptions = boxed(b"stsd", [&[0, 0, 0, 0, 0, 0, 0, 1][..], entry].concat());
    let table = boxed(b"stbl", [&[descriptions], tables].concat().concat());
    let edits = boxed(b"edts", full(b"elst", [1, 7_200_000, start, 1 << 16]));
    boxed(b"trak", [header, edits, boxed(b"mdia", [media_header, handler, boxed(b"minf", table)].concat())].concat())
}

/// Two hours of 25 pictures a second with B-pictures, a key picture every two seconds, and sound at 48 kHz; chunks of half
/// a second. Only the index is there: the media is what [`Hollow`] makes up.
fn movie() -> Vec<u8> {
    let (pictures, sounds) = (180_000u32, 337_500u32);
    let chunks = |count: u32, size: u32| full(b"stco", [count].into_iter().chain((0..count).map(move |chunk| 1_000 + chunk * size)));
    let video = [
        full(b"stts", [1, pictures, 512]),
        full(b"ctts", [pictures].into_iter().chain((0..pictures).flat_map(|at| [1, [1_024, 2_560, 1_024, 0, 512][at as usize % 5]]))),
        full(b"stss", [pictures / 50].into_iter().chain((0..pictures / 50).map(|group| group * 50 + 1))),
        full(b"stsc", [1, 1, 12, 1]),
        full(b"stsz", [0, pictures].into_iter().chain((0..pictures).map(|at| 5_000 + at % 9_000))),
        chunks(pictures / 12, 120_000),
    ];
    let audio = [
        full(b"stts", [1, sounds, 1_024]),
        full(b"stsc", [1, 1, 25, 1]),
        full(b"stsz", [0, sounds].into_iter().chain((0..sounds).map(|at| 200 + at % 300))),
        chunks(sounds / 25, 120_000),
    ];
    let avc = boxed(b"avcC", [1, 0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x4d, 0x40, 0x1e, 1, 0, 2, 0x68, 0xee]);
    let config = [&[4, 17, 0x40, 0x15][..], &[0; 11], &[5, 2, 0x11, 0x90]].concat();
    let esds = boxed(b"esds", [&[0, 0, 0, 0, 3, 25, 0, 1, 0][..], &config, &[6, 1, 2]].concat());
    let header = full(b"mvhd", [0, 0, 1_000].into_iter().chain([0; 21]));
    let tracks = [
        track(1, b"vide", 12_800, &boxed(b"avc1", [vec![0; 78], avc].concat()), &video, 1_024),
        track(2, b"soun", 48_000, &boxed(b"mp4a", [vec![0; 28], esds].concat()), &audio, 1_024),
    ];
    [boxed(b"ftyp", b"isom\0\0\0\0"), boxed(b"moov", [header, tracks.concat()].concat())].concat()
}

/// A file of 4 GB: the index, then zeros.
struct Hollow(Vec<u8>);

impl ReadAt for Hollow {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let held = self.0.get(offset as usize..).unwrap_or_default();
        let len = held.len().min(buffer.len());
        buffer[..len].copy_from_slice(&held[..len]);
        buffer[len..].fill(0);
        Ok(())
    }

    fn size(&self) -> u64 {
        4 << 30
    }

    fn open(&self) -> std::io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

fn source() -> Arc<dyn ReadAt> {
    let mut file = movie();
    // The rest of the file is one box.
    file.extend([0, 0, 0, 0]);
    file.extend(b"mdat");
    Arc::new(Hollow(file))
}

#[divan::bench]
fn index_of_a_two_hour_film(bencher: Bencher<'_, '_>) {
    let source = source();
    let path = TitlePath::new("film.mp4").expect("a path");
    let index = || container::parse(Arc::clone(&source), path.clone()).expect("a sound film");
    assert_eq!(index().tracks.iter().map(|track| track.len()).collect::<Vec<_>>(), [180_000, 337_500]);
    bencher.bench(index);
}

#[divan::bench]
fn kept_index_of_a_two_hour_film(bencher: Bencher<'_, '_>) {
    let (source, path) = (source(), TitlePath::new("film.mp4").expect("a path"));
    let title = container::parse(Arc::clone(&source), path.clone()).expect("a sound film");
    let stamp = Stamp { size: source.size(), ..Stamp::default() };
    let octets = write_index("", &stamp, &title).expect("small");
    println!("{} octets", octets.len());
    let wanted = Wanted { made_by: "", path: &path, stamp: &stamp, restore: &container::restore };
    bencher.bench_local(|| read_index(&wanted, &octets, Arc::clone(&source)).expect("it was just written"));
}

#[divan::bench]
fn seek(bencher: Bencher<'_, '_>) {
    let title = container::parse(source(), TitlePath::new("film.mp4").expect("a path")).expect("a sound film");
    let mut second = 0;
    bencher.bench_local(|| {
        second = (second * 31 + 17) % 7_200;
        title.tracks[0].random_access_at_or_before(MediaTime::from_seconds(f64::from(second)))
    });
}

/// A file of the disk.
struct OnDisk(File, u64);

impl ReadAt for OnDisk {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn size(&self) -> u64 {
        self.1
    }

    fn open(&self) -> std::io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self(self.0.try_clone()?, self.1)))
    }
}

fn element(id: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    let content = content.as_ref();
    [&id[..], &(0x1000_0000 | content.len() as u32).to_be_bytes(), content].concat()
}

/// Half an hour of 25 pictures a second of 60,000 octets, and sound at 48 kHz of 300 octets a frame, in clusters of a second. Only
/// the headers are on the disk, which gives no more than their blocks.
fn matroska() -> Arc<dyn ReadAt> {
    let file = tempfile::tempfile().expect("a file");
    let avc = [1, 0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x4d, 0x40, 0x1e, 1, 0, 2, 0x68, 0xee];
    let video = [element(0xd7, [1]), element(0x83, [1]), element(0x86, "V_MPEG4/ISO/AVC"), element(0x63a2, avc)].concat();
    let audio = [element(0xd7, [2]), element(0x83, [2]), element(0x86, "A_AAC"), element(0x63a2, [0x11, 0x90])].concat();
    let tracks = element(0x1654_ae6b, [element(0xae, video), element(0xae, audio)].concat());
    let unknown = [1, 255, 255, 255, 255, 255, 255, 255];
    let mut at = 0;
    let mut write = |octets: &[u8], skip: u64| {
        file.write_all_at(octets, at).expect("written");
        at += octets.len() as u64 + skip;
    };
    write(&[&element(0x1a45_dfa3, [])[..], &[0x18, 0x53, 0x80, 0x67], &unknown, &tracks].concat(), 0);
    let block = |track: u8, time: u64, octets: u32| {
        let header = [&[0xa3][..], &(0x1000_0000 | (octets + 4)).to_be_bytes(), &[0x80 | track], &(time as u16).to_be_bytes(), &[0x80]];
        header.concat()
    };
    let mut sounds = 0;
    for second in 0..1_800u64 {
        write(&[&[0x1f, 0x43, 0xb6, 0x75][..], &unknown, &element(0xe7, (second * 1_000).to_be_bytes())].concat(), 0);
        for picture in 0..25 {
            write(&block(1, picture * 40, 60_000), 60_000);
            while sounds * 1_024 < second * 48_000 + (picture + 1) * 1_920 {
                write(&block(2, sounds * 1_024 / 48 - second * 1_000, 300), 300);
                sounds += 1;
            }
        }
    }
    file.set_len(at).expect("a whole file");
    Arc::new(OnDisk(file, at))
}

#[divan::bench]
fn index_of_half_an_hour_of_matroska(bencher: Bencher<'_, '_>) {
    let source = matroska();
    let path = TitlePath::new("film.mkv").expect("a path");
    let index = || container::parse(Arc::clone(&source), path.clone()).expect("a sound film");
    assert_eq!(index().tracks.iter().map(|track| track.len()).collect::<Vec<_>>(), [45_000, 84_375]);
    bencher.bench(index);
}
