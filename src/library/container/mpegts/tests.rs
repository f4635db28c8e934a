use super::*;

#[test]
fn noise_is_a_problem_and_never_a_panic() {
    proptest::proptest!(|(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4_000))| {
        let mut file = noise;
        file.chunks_mut(188).for_each(|packet| packet[0] = 0x47);
        let path = TitlePath::new("noise.ts").expect("a path");
        proptest::prop_assert!(parse(Arc::new(file), path).is_err());
    });
}
