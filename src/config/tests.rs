use proptest::prelude::*;

use super::*;
use crate::access::Role;

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &'static str, &str)]) -> Result<Loaded, ConfigErrors> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = flags.iter().map(|(key, name, value)| Flag { key, name, value: (*value).to_owned() }).collect();
    let read_file = |path: &std::path::Path| match path.to_str() {
        Some("secrets/tv.key") => Ok(format!("{}\n", "0f".repeat(32))),
        Some("secrets/short.key") => Ok("0f0f".into()),
        _ => Err("no such file".to_owned()),
    };
    Layers { file: Some(("f.toml", file)), environment, flags }.load(&read_file)
}

fn wrong(file: &str) -> Vec<String> {
    load(file, &[], &[]).expect_err("wrong").0.iter().map(ToString::to_string).collect()
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let file = "[rtp]\nport = 6000\nmtu = 1200\n[rtsp]\nlisten = \"127.0.0.1:1\"";
    let environment = [("FLOWSTEER_RTP_PORT", "7000"), ("PATH", "x"), ("FLOWSTEER_HTTP_TOKENS", "a, b")];
    let loaded = load(file, &environment, &[("rtsp.listen", "--rtsp", "[::1]:2")]).expect("sound");
    let config = &loaded.config;
    assert_eq!((config.rtp.port, config.rtp.mtu), (7000, 1200));
    assert_eq!(config.rtsp.listen.to_string(), "[::1]:2");
    assert_eq!(config.http.tokens, ["a", "b"]);
    assert_eq!(config.steering, SteeringConfig::default());
    let origins = ["rtp.port", "rtp.mtu", "rtsp.listen", "rtp.dscp_video"].map(|key| loaded.origin(key).to_string());
    assert_eq!(origins, ["FLOWSTEER_RTP_PORT", "f.toml:3", "--rtsp", "default"]);
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place() {
    let file = "[rtp]\nport = 8001\nmut = 3\n[rtsp]\nlisten = \"here\"\nmtu = 1400\nconnections = -1\nbody_bytes = \"many\"\n\n[lgo]\nlevel = \"debug\"\n\
                [steering]\ncontext_s = 100000\nhome_prefix = \"fd00::/121\"\n[[home]]\nname = \"wall\"\n[[home]]\nname = \"wall\"\ntitel = \"a.mp4\"\n";
    assert_eq!(
        wrong(file),
        [
            "f.toml:2: rtp.port: RTP takes an even port, RTCP the next one",
            "f.toml:3: rtp.mut: no such key, did you mean rtp.mtu?",
            "f.toml:5: rtsp.listen: invalid socket address syntax",
            "f.toml:6: rtsp.mtu: no such key, did you mean rtp.mtu?",
            "f.toml:7: rtsp.connections: invalid value: integer `-1`, expected usize",
            "f.toml:8: rtsp.body_bytes: invalid type: string \"many\", expected usize",
            "f.toml:10: lgo: no such key, did you mean log?",
            "f.toml:13: steering.context_s: is 1 to 86400",
            "f.toml:14: steering.home_prefix: the prefix leaves fewer than 256 addresses",
            "f.toml:18: home.name: two homes have the same name",
            "f.toml:19: home.titel: no such key, did you mean home.title?",
        ]
    );
}

#[test]
fn a_level_with_a_slip_in_it_is_an_error_and_a_filter_is_none() {
    let level = |level: &str| load("", &[], &[("log.level", "--log", level)]).map(|loaded| loaded.config.log.level);
    for sound in ["INFO", "off", "flowsteer", "flowsteer=debug", "flowsteer::rtsp=debug,info", "hyper=warn,flowsteer::http", "info,"] {
        assert_eq!(level(sound).ok().as_deref(), Some(sound));
    }
    for wrong in ["debgu", "loud", "verbose,flowsteer=info", "flowsteer=loud"] {
        let told = level(wrong).expect_err(wrong).0.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told, ["--log: log.level: is error, warn, info, debug, trace, or a filter like flowsteer=debug"], "{wrong}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_line_by_line_and_what_can_be_read_is_checked() {
    let told = wrong("[rtp]\nport = = 3\nmut = 3\n[rtsp\nlisten = \"x\"\n");
    assert!(told.iter().any(|line| line.starts_with("f.toml:2: ")), "{told:#?}");
    assert!(told.iter().any(|line| line == "f.toml:3: rtp.mut: no such key, did you mean rtp.mtu?"), "{told:#?}");
    assert!(told.iter().any(|line| line.starts_with("f.toml:4: ")), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("rtp.port")), "what a broken line says is not judged: {told:#?}");
    let twice = wrong("[rtp]\nport = 8000\nport = 8002\n");
    assert!(twice.len() == 1 && twice[0].starts_with("f.toml:3: "), "{twice:#?}");
}

#[test]
fn variables_and_flags_are_told_by_name_and_unknown_variables_are_a_warning() {
    let environment = [("FLOWSTEER_RTP_PORT", "many"), ("FLOWSTEER_RTP_MTU", "9"), ("FLOWSTEER_RTP_PROT", "1"), ("FLOWSTEER_X", "1")];
    let told = load("", &environment, &[("steering.transition_ms", "--transition", "99999")]).expect_err("wrong").to_string();
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "FLOWSTEER_RTP_MTU: rtp.mtu: a packet has 300 to 1500 octets",
            "FLOWSTEER_RTP_PORT: rtp.port: invalid type: string \"many\", expected u16",
            "--transition: steering.transition_ms: steering.transition_ms is at most steering.max_window_ms",
        ]
    );
    let warnings = load("", &environment[2..], &[]).expect("sound").warnings;
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["FLOWSTEER_RTP_PROT: no such setting, did you mean FLOWSTEER_RTP_PORT?", "FLOWSTEER_X: no such setting"]
    );
}

#[test]
fn a_rule_about_two_keys_blames_the_one_that_was_set() {
    let told = wrong("[steering]\nmax_window_ms = 1000\n");
    assert_eq!(told, ["f.toml:2: steering.transition_ms: steering.transition_ms is at most steering.max_window_ms"]);
    let told = wrong("[steering]\nmax_window_ms = \"long\"\ntransition_ms = 20000\n");
    assert_eq!(told.len(), 1, "with one of them wrong nothing is said of both: {told:#?}");
}

#[test]
fn a_device_is_one_host_with_an_unprivileged_port_and_is_shown_as_it_was_written() {
    let loaded = load("[[device]]\nname = \"TV\"\ncare_of = \"[::ffff:192.0.2.7]:5004\"\n", &[], &[]).expect("sound");
    assert_eq!(loaded.config.device, [DeviceConfig { name: "TV".into(), care_of: "192.0.2.7:5004".parse().expect("a place") }]);
    let shown = loaded.shown();
    assert!(shown.contains("[[device]]  # f.toml:1\nname = \"TV\"\ncare_of = \"192.0.2.7:5004\"\n"), "{shown}");
    assert_eq!(load(&shown, &[], &[]).expect("sound").config.device, loaded.config.device);
    for (care_of, rule) in [
        ("192.0.2.7", "is an address and a port"),
        ("tv.example:5004", "is an address and a port"),
        ("[ff02::1]:5004", "is the address of one host"),
        ("0.0.0.0:5004", "is the address of one host"),
        ("192.0.2.7:1023", "its port is 1024 or more"),
    ] {
        let told = wrong(&format!("[[device]]\nname = \"TV\"\ncare_of = \"{care_of}\"\n"));
        assert_eq!(told, [format!("f.toml:3: device.care_of: {rule}")]);
    }
    assert_eq!(wrong("[[device]]\ncare_of = \"192.0.2.7:5004\"\n"), ["f.toml:1: device.name: is missing"]);
    assert_eq!(wrong("[[device]]\nname = \" \"\ncare_of = \"192.0.2.7:5004\"\n"), ["f.toml:2: device.name: is not empty"]);
}

#[test]
fn sections_and_entries_in_the_wrong_shape_are_told() {
    assert_eq!(wrong("rtp = 3\n"), ["f.toml:1: rtp: is a section: [rtp]"]);
    assert_eq!(wrong("listen = 3\n"), ["f.toml:1: listen: no such key, did you mean http.listen?"]);
    assert_eq!(wrong("[home]\nname = \"x\"\n"), ["f.toml:1: home: its entries are written as [[home]]"]);
    assert_eq!(wrong("[[home]]\ntitle = \"a.mp4\"\n"), ["f.toml:1: home.name: is missing"]);
    assert_eq!(wrong("[[home]]\nname = 3\n"), ["f.toml:2: home.name: is a text"]);
    assert_eq!(wrong("[[home]]\nname = \"a/b\"\n"), ["f.toml:2: home.name: a name is not empty, no address, and has no /, ? or #"]);
    let twice = wrong("[[home]]\nname = \"wall\"\n[[home]]\nname = \"wall\"\ntitle = \"../x\"\n");
    assert_eq!(twice, ["f.toml:4: home.name: two homes have the same name", "f.toml:5: home.title: is a title's path below the folder"]);
    assert_eq!(wrong("[[publish]]\nusername = \"anna\"\n"), ["f.toml:1: publish.path: is missing"]);
    let half = wrong("[[publish]]\npath = \"a/../b*\"\nusername = \"an:na\"\n");
    let rules = [
        "f.toml:1: publish.password: username and password go together",
        "f.toml:2: publish.path: is a title's path, or the beginning of one and a *, without ? and #",
        "f.toml:3: publish.username: is not empty, and has no :, no \" and no \\",
    ];
    assert_eq!(half, rules);
    assert_eq!(wrong("[http]\nconnections_per_address = 0\n"), ["f.toml:2: http.connections_per_address: is at least 1"]);
    assert_eq!(wrong("[http]\nwrite_timeout_s = 0\n"), ["f.toml:2: http.write_timeout_s: is 1 to 86400"]);
    let outside = wrong("[steering]\nhome_prefix = \"fd00::/64\"\nunbound_prefixes = [\"fd01::/64\"]\n");
    assert_eq!(outside, ["f.toml:3: steering.unbound_prefixes: a prefix lies in steering.home_prefix, or around it"]);
    let away = wrong("[steering]\nunbound = \"away\"\n");
    assert!(away[0].contains("expected `pause` or `home`"), "{away:?}");
    assert_eq!(wrong("[rtp]\nport = 99999999999999999999\n"), ["f.toml:2: rtp.port: the number is too large"]);
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same_and_tells_no_secret() {
    let file = "[http]\ntokens = [\"hush\"]\n[rtp]\nmtu = 1_200\n[[home]]\nname = \"wall\"\ntitle = \"a \\\"b\\\".mp4\"\n";
    let loaded = load(file, &[("FLOWSTEER_RTP_PORT", "7000")], &[("log.level", "--log", "debug")]).expect("sound");
    let shown = loaded.shown();
    for line in [
        "port = 7000  # FLOWSTEER_RTP_PORT",
        "mtu = 1200  # f.toml:4",
        "level = \"debug\"  # --log",
        "linger_s = 60  # default",
        "# tokens: 1, not shown  # f.toml:2",
        "[[home]]  # f.toml:5",
        "# home_prefix is not set",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(!shown.contains("hush"), "{shown}");
    for key in layers::keys().into_keys() {
        let (_, name) = key.split_once('.').expect("a section");
        assert!(shown.contains(name), "{key}: {shown}");
    }
    let mut again = load(&shown, &[], &[]).expect("what is shown is a configuration").config;
    again.http.tokens = vec!["hush".into()];
    assert_eq!(again, loaded.config);
    let leaked = load("[http]\ntokens = \"hush\"\n", &[], &[]).expect_err("wrong").to_string();
    assert_eq!(leaked, "f.toml:2: http.tokens: is a list of texts");
}

#[test]
fn the_way_of_joining_and_its_rate_are_read_from_files_and_texts() {
    let read = |file: &str| {
        let config = load(file, &[], &[]).expect("sound").config;
        (config.steering.join, config.steering.prime_rate)
    };
    assert_eq!(read(""), (JoinDefault::Primed, PrimeRate::Auto));
    assert_eq!(read("[steering]\njoin = \"at-once\"\nprime_rate = 4"), (JoinDefault::AtOnce, PrimeRate::Fixed { milli: 4000 }));
    assert_eq!(read("[steering]\njoin = \"aligned\"").0, JoinDefault::Aligned);
    assert_eq!(read("[steering]\njoin = \"primed\"\nprime_rate = 1.5"), (JoinDefault::Primed, PrimeRate::Fixed { milli: 1500 }));
    for (text, rate) in [("auto", PrimeRate::Auto), ("32", PrimeRate::Fixed { milli: 32_000 }), ("1.25", PrimeRate::Fixed { milli: 1250 })]
    {
        let loaded = load("", &[("FLOWSTEER_STEERING_PRIME_RATE", text)], &[]).expect("sound");
        assert_eq!(loaded.config.steering.prime_rate, rate, "{text}");
        let again = load(&loaded.shown(), &[], &[]).expect("what is shown is a configuration");
        assert_eq!(again.config.steering.prime_rate, rate, "{text}");
    }
    for rate in ["0", "0.99", "33", "\"fast\"", "inf", "nan", "-1"] {
        let told = wrong(&format!("[steering]\nprime_rate = {rate}\n"));
        assert_eq!(told, ["f.toml:2: steering.prime_rate: is \"auto\", or a number from 1 to 32"], "{rate}");
    }
    assert_eq!(wrong("[steering]\njoin = \"later\"\n"), ["f.toml:2: steering.join: is \"primed\", \"aligned\" or \"at-once\""]);
}

#[test]
fn provisioned_keys_are_read_and_never_shown() {
    let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    let file = format!(
        "[mobility]\nlisten = \"[::1]:0\"\ndeny = [\"10.0.0.0/8\"]\ncare_of_test = \"always\"\n[[mobility.keys]]\nspi = 0x100\nnai = \"tv@example\"\n\
         key = \"{hex}\"\n[[mobility.keys]]\nspi = \"0x7fffffff\"\nnai = \"phone\"\nkey_file = \"secrets/tv.key\"\n"
    );
    let loaded = load(&file, &[("FLOWSTEER_MOBILITY_RAW", "true")], &[]).expect("sound");
    let mobility = &loaded.config.mobility;
    assert_eq!((mobility.listen.to_string().as_str(), mobility.raw, mobility.care_of_test), ("[::1]:0", true, CareOfTest::Always));
    assert_eq!(
        mobility.keys.iter().map(|key| (key.spi, key.nai.as_str())).collect::<Vec<_>>(),
        [(0x100, "tv@example"), (0x7fff_ffff, "phone")]
    );
    assert_eq!((mobility.keys[0].key.expose()[1], mobility.keys[0].key.expose()[31]), (0x11, 0xff));
    assert_eq!(mobility.keys[0].key.expose_hex().as_str(), hex.to_lowercase());
    assert_eq!(mobility.keys[1].key, SecretKey::new([0x0f; 32]));
    let shown = loaded.shown();
    assert!(shown.contains("# [[mobility.keys]]  # f.toml:9\n# spi = \"0x7fffffff\"\n# nai = \"phone\"\n"), "{shown}");
    for text in [shown, format!("{loaded:?}")] {
        assert!(!text.contains("0011") && !text.contains("0f0f") && !text.contains("17, 34, 51"), "{text}");
    }
    assert_eq!(format!("{:?}", mobility.keys[0].key), "SecretKey(…)");
}

#[test]
fn each_mistake_in_a_provisioned_key_is_told_with_its_line() {
    let hex = "ab".repeat(32);
    let told = |fields: &str| {
        let told = wrong(&format!("[[mobility.keys]]\n{fields}\n"));
        assert!(told.iter().all(|line| !line.contains("abab")), "{told:#?}");
        told.join("; ")
    };
    let key = format!("key = \"{hex}\"");
    for (fields, expected) in [
        (format!("spi = 255\nnai = \"a\"\n{key}"), "f.toml:2: mobility.keys.spi: those below 0x100 are reserved"),
        (
            format!("spi = \"0x80000000\"\nnai = \"a\"\n{key}"),
            "f.toml:2: mobility.keys.spi: is at most 0x7fffffff: the top bit marks derived keys",
        ),
        (format!("spi = \"256\"\nnai = \"a\"\n{key}"), "f.toml:2: mobility.keys.spi: is a number, or a text with 0x and hex digits"),
        (format!("spi = -1\nnai = \"a\"\n{key}"), "f.toml:2: mobility.keys.spi: is a number, or a text with 0x and hex digits"),
        (format!("spi = 256\nnai = \"\"\n{key}"), "f.toml:3: mobility.keys.nai: has 1 to 254 octets"),
        (format!("spi = 256\n{key}"), "f.toml:1: mobility.keys.nai: is missing"),
        (format!("nai = \"a\"\n{key}"), "f.toml:1: mobility.keys.spi: is missing"),
        (format!("spi = 256\nnai = 3\n{key}"), "f.toml:3: mobility.keys.nai: is a text"),
        ("spi = 256\nnai = \"a\"".to_owned(), "f.toml:1: mobility.keys.key: neither key nor key_file is there, one is needed"),
        (
            format!("spi = 256\nnai = \"a\"\n{key}\nkey_file = \"secrets/tv.key\""),
            "f.toml:5: mobility.keys.key_file: key and key_file are both there, one is needed",
        ),
        ("spi = 256\nnai = \"a\"\nkey = \"abab\"".to_owned(), "f.toml:4: mobility.keys.key: has 4 hex digits, a key has 64 (32 octets)"),
        (format!("spi = 256\nnai = \"a\"\nkey = \"{hex}00\""), "f.toml:4: mobility.keys.key: has 66 hex digits, a key has 64 (32 octets)"),
        (
            format!("spi = 256\nnai = \"a\"\nkey = \"x{}\"", &hex[1..]),
            "f.toml:4: mobility.keys.key: has something else than hex digits in it",
        ),
        ("spi = 256\nnai = \"a\"\nkey_file = \"none\"".to_owned(), "f.toml:4: mobility.keys.key_file: none: no such file"),
        (
            "spi = 256\nnai = \"a\"\nkey_file = \"secrets/short.key\"".to_owned(),
            "f.toml:4: mobility.keys.key_file: has 4 hex digits, a key has 64 (32 octets)",
        ),
        (
            format!("spi = 256\nnay = \"a\"\nnai = \"a\"\n{key}"),
            "f.toml:3: mobility.keys.nay: no such key, did you mean mobility.keys.nai?",
        ),
    ] {
        assert_eq!(told(&fields), expected, "{fields}");
    }
    let twice = format!("spi = 256\nnai = \"a\"\n{key}\n[[mobility.keys]]\nspi = \"0x100\"\nnai = \"a\"\nkey = \"no\"");
    assert_eq!(
        told(&twice),
        "f.toml:6: mobility.keys.spi: two keys have the same spi; f.toml:7: mobility.keys.nai: two keys have the same nai; \
         f.toml:8: mobility.keys.key: has something else than hex digits in it"
    );
    assert_eq!(wrong("[mobility]\nkeys = \"x\"\n"), ["f.toml:2: mobility.keys: its entries are written as [[mobility.keys]]"]);
    assert_eq!(wrong("[mobility]\nmax_bids = 0\ncare_of_test = \"never\"\n").len(), 2);
}

#[test]
fn what_a_running_server_can_take_over_is_told_apart_from_what_needs_a_restart() {
    let read = |file: &str| load(file, &[], &[]).expect("sound").config;
    let before = read("[http]\ntokens = [\"a\"]\n[mobility]\nmax_bids = 4\n");
    assert_eq!(before.changes(&before), Changes::default());
    let key = format!("[[mobility.keys]]\nspi = 256\nnai = \"a\"\nkey = \"{}\"\n", "ab".repeat(32));
    let again = read(&format!(
        "[http]\ntokens = [\"b\"]\n[rtp]\nmtu = 1200\n[mobility]\nlisten = \"[::1]:0\"\nmax_sas = 3\n[log]\nlevel = \"debug\"\n[[home]]\nname = \"wall\"\n{key}"
    ));
    let changes = before.changes(&again);
    assert_eq!(changes.live, ["log.level", "mobility.max_sas", "home", "mobility.keys"]);
    assert_eq!(changes.restart, ["mobility.listen", "mobility.max_bids", "rtp.mtu", "http.tokens"]);
    let running = before.taking_over(&again);
    assert_eq!((running.rtp.mtu, running.mobility.listen, running.mobility.max_bids), (1400, before.mobility.listen, 4));
    assert_eq!((running.mobility.max_sas, running.mobility.keys.len(), running.home.len()), (3, 1, 1));
    assert_eq!(running.changes(&again), Changes { live: vec![], restart: changes.restart });
}

#[test]
fn cameras_are_read_and_their_passwords_told_nowhere() {
    let file = "[[camera]]\nname = \"yard/side\"\nurl = \"rtsp://[2001:db8::7]:554/a?b\"\nusername = \"viewer\"\npassword = \"hush\"\n\
                transport = \"udp\"\nalways = true\n[[camera]]\nname = \"door\"\nurl = \"rtsp://camera/\"\n";
    let loaded = load(file, &[], &[]).expect("sound");
    let [side, door] = &loaded.config.camera[..] else { panic!("two cameras: {loaded:?}") };
    assert_eq!((side.transport, side.always, door.transport, door.always), (CameraTransport::Udp, true, CameraTransport::Tcp, false));
    assert_eq!(side.password.as_ref().map(Password::expose), Some("hush"));
    let shown = loaded.shown();
    assert!(shown.contains("[[camera]]  # f.toml:1\nname = \"yard/side\"\n"), "{shown}");
    assert!(!shown.contains("hush") && !format!("{loaded:?}").contains("hush"), "{shown}");
    let again = load(&shown, &[], &[]).expect("what is shown is a configuration").config;
    assert_eq!(again.camera[1], loaded.config.camera[1]);
    assert_eq!(again.changes(&loaded.config).live, ["camera"], "the password");
    let camera = |lines: &str| wrong(&format!("[[camera]]\n{lines}\n"));
    let url = "url = \"rtsp://camera/\"";
    assert_eq!(camera("name = \"a\""), ["f.toml:1: camera.url: is missing"]);
    assert_eq!(camera(&format!("name = \"a\"\n{url}\ntransport = \"sctp\"")), ["f.toml:4: camera.transport: is tcp or udp"]);
    assert_eq!(camera(&format!("name = \"a\"\n{url}\nalways = 1")), ["f.toml:4: camera.always: is true or false"]);
    assert_eq!(camera(&format!("name = \"../a\"\n{url}")), ["f.toml:2: camera.name: is a title's path, without ? and #"]);
    assert_eq!(camera(&format!("name = \"home/a\"\n{url}")), ["f.toml:2: camera.name: is not below home/, where home addresses are"]);
    assert_eq!(camera(&format!("name = \"a\"\n{url}\npassword = \"x\"")), ["f.toml:4: camera.password: goes with a username"]);
    let told = camera("name = \"a\"\nurl = \"rtsp://viewer:hush@camera/\"");
    assert_eq!(told, ["f.toml:3: camera.url: has no credentials: they are username and password"]);
    assert_eq!(camera("name = \"a\"\nurl = \"http://camera/\""), ["f.toml:3: camera.url: is an rtsp:// URL with a host"]);
    let twice = wrong(&format!("[[camera]]\nname = \"a\"\n{url}\n[[camera]]\nname = \"a\"\n{url}\n"));
    assert_eq!(twice, ["f.toml:5: camera.name: two cameras have the same name"]);
}

#[test]
fn users_and_rules_are_read_and_shown_without_passwords() {
    let hash = "eda8e47150414c763a3594d6abb19836";
    let file = format!(
        "[[users]]\nname = \"anna\"\npassword = \"s3cret\"\nroles = [\"viewer\", \"publisher\"]\n[[users]]\nname = \"bert\"\npassword_hash = \"md5:{hash}\"\n\
         [[access]]\npath = \"films/*\"\nroles = [\"viewer\"]\nusers = [\"bert\"]\n[[access]]\npath = \"*\"\nanyone = true\n\
         [[publish]]\npath = \"studio/*\"\nroles = [\"publisher\"]\n"
    );
    let loaded = load(&file, &[], &[]).expect("sound");
    let config = &loaded.config;
    let roles: Vec<&[Role]> = config.users.iter().map(|user| user.roles.as_slice()).collect();
    assert_eq!(roles, [&[Role::Viewer, Role::Publisher][..], &[]]);
    assert!(config.users[1].password_hash.as_ref().expect("a hash").is_of("bert", "x"));
    assert_eq!((config.access[0].users.as_slice(), config.access[1].anyone), (&["bert".to_owned()][..], true));
    let shown = loaded.shown();
    assert!(!shown.contains("s3cret") && !shown.contains(hash), "{shown}");
    for line in ["# name = \"anna\"", "# roles = [\"viewer\", \"publisher\"]", "path = \"films/*\"", "users = [\"bert\"]", "anyone = true"]
    {
        assert!(shown.lines().any(|told| told == line), "{line}\n{shown}");
    }
    let other = load(&file.replace("s3cret", "other").replace("films/*", "*lms"), &[], &[]);
    assert!(other.is_err(), "a * is at the end");
    let other = load(&file.replace("s3cret", "other"), &[], &[]).expect("sound");
    assert_eq!(config.changes(&other.config), Changes { live: vec!["users".into()], restart: vec![] });
    assert!(config.taking_over(&other.config) == other.config);
}

#[test]
fn the_network_operates_by_token_or_login_and_not_otherwise() {
    let olga = "[[users]]\nname = \"olga\"\npassword = \"s3cret\"\nroles = [\"operator\"]\n";
    let anna = olga.replace("operator", "viewer");
    let wide = "[http]\noperators = \"network\"\n";
    let told = "f.toml:2: http.operators: anybody could operate: network needs http.tokens, or one of [[users]] with the role operator";
    assert_eq!(wrong(wide), [told]);
    assert_eq!(wrong(&format!("{wide}{anna}")), [told]);
    assert_eq!(wrong(&format!("{wide}tokens = []\n")), [told]);
    for file in [format!("{wide}tokens = [\"x\"]\n"), format!("{wide}{olga}"), wide.replace("network", "loopback"), String::new()] {
        load(&file, &[], &[]).expect("sound");
    }
    load(wide, &[("FLOWSTEER_HTTP_TOKENS", "x")], &[]).expect("sound");
    let visible = "f.toml:2: http.tokens: each has one visible ASCII character or more, and nothing else";
    for token in ["", " a", "open sesame", "ä"] {
        assert_eq!(wrong(&format!("[http]\ntokens = [\"long-enough\", {token:?}]\n")), [visible], "{token}");
    }
    let warnings = |token: &str| load(&format!("[http]\ntokens = [{token:?}]\n"), &[], &[]).expect("sound").warnings;
    assert_eq!(warnings("fifteen-letters")[0].to_string(), "f.toml:2: http.tokens: one of fewer than 16 characters can be guessed");
    assert_eq!(warnings("sixteen-letters-"), []);
    assert_eq!(
        wrong("[http]\nsession_s = 90000\nsession_max_s = 3000000\noperators = \"all\"\n"),
        [
            "f.toml:2: http.session_s: a login ends after 1 to 2592000 seconds",
            "f.toml:4: http.operators: unknown variant `all`, expected `loopback` or `network`",
        ]
    );
    assert_eq!(wrong("[http]\nsession_s = 90000\n"), ["f.toml:2: http.session_s: http.session_s is at most http.session_max_s"]);
}

#[test]
fn a_user_whose_password_answers_no_digest_plays_where_basic_is_taken() {
    let hash = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$M2ixdWbEJpyjhdeAgEaqhSW/F2crE0mWnIedK/8v2b0";
    let user = |roles: &str| format!("[[users]]\nname = \"anna\"\npassword_hash = \"{hash}\"\nroles = [{roles}]\n");
    let told = |line: u32| {
        format!(
            "f.toml:{line}: users.password_hash: Argon2 answers no Digest: to play or publish, this user needs Basic, by TLS or rtsp.basic"
        )
    };
    assert_eq!(wrong(&user("\"viewer\"")), [told(3)]);
    assert_eq!(wrong(&user("\"operator\", \"publisher\"")), [told(3)]);
    let rule = "[[access]]\npath = \"*\"\nusers = [\"anna\"]\n";
    assert_eq!(wrong(&format!("{rule}{}", user(""))), [told(6)]);
    let nowhere = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n[rtsp]\ntls_listen = \"none\"\n";
    assert_eq!(wrong(&format!("{nowhere}{}", user("\"viewer\""))), [told(8)]);
    for before in
        ["[rtsp]\nbasic = true\n", "[rtsp]\nbasic = true\ndigest = \"sha-256\"\n", nowhere.split("[rtsp]").next().unwrap_or_default()]
    {
        load(&format!("{before}{}", user("\"viewer\"")), &[], &[]).expect("sound");
    }
    let loaded = load(&user("\"operator\""), &[], &[]).expect("sound");
    assert!(loaded.config.users[0].password_hash.is_some() && !loaded.shown().contains("argon2"));
    let costly = user("").replace("m=64", "m=9999999");
    assert_eq!(wrong(&costly), ["f.toml:3: users.password_hash: takes more than m=262144, t=16, p=16 to check"]);
}

#[test]
fn users_and_rules_that_cannot_be_meant_are_told() {
    let told = |file: &str| wrong(file).into_iter().map(|line| line.split_once(' ').expect("a place").1.to_owned()).collect::<Vec<_>>();
    for (file, expected) in [
        ("[[users]]\nname = \"a:b\"\npassword = \"x\"", "users.name: is not empty, and has no :, no \" and no \\"),
        ("[[users]]\nname = \"flow\"\npassword = \"x\"", "users.name: flow is who shows a take-over token"),
        ("[[users]]\nname = \"anna\"", "users.password: neither password nor password_hash is there, one is needed"),
        ("[[users]]\nname = \"anna\"\npassword = \"\"", "users.password: is not empty"),
        (
            "[[users]]\nname = \"anna\"\npassword_hash = \"secret\"",
            "users.password_hash: begins with md5:, sha-256: or $argon2id$, as flowsteer passwd prints it",
        ),
        ("[[users]]\nname = \"anna\"\npassword = \"x\"\nroles = [\"owner\"]", "users.roles: a role is viewer, publisher or operator"),
        ("[[users]]\nname = \"anna\"\npassword = \"x\"\nroles = \"viewer\"", "users.roles: is a list of texts"),
        ("[[access]]\npath = \"a\"", "access.anyone: is either anyone = true, or users or roles"),
        ("[[access]]\npath = \"a\"\nroles = [\"viewer\"]", "access.roles: there are no [[users]]"),
        ("[[access]]\npath = \"a\"\nusers = [\"anna\"]", "access.users: each is the name of one of [[users]]"),
        ("[[access]]\npath = \"a\"\nanyone = true\n[[access]]\npath = \"a\"\nanyone = true", "access.path: two rules have the same path"),
        ("[[publish]]\npath = \"a\"\nroles = [\"publisher\"]", "publish.roles: none of [[users]] has that role"),
        ("[[publish]]\npath = \"a\"\nusers = [\"anna\"]", "publish.users: each is the name of one of [[users]] with the role publisher"),
    ] {
        assert_eq!(told(file), [expected], "{file}");
    }
    let hashed = format!("[rtsp]\ndigest = \"sha-256\"\n[[users]]\nname = \"bert\"\npassword_hash = \"md5:{}\"", "0a".repeat(16));
    assert_eq!(told(&hashed), ["users.password_hash: is hashed in another way than rtsp.digest says"]);
}

/// Lines as they stand in a configuration, right and wrong.
const LINES: [&str; 35] = [
    "[rtp]",
    "[rtsp]",
    "[steering]",
    "[[camera]]",
    "[[home]]",
    "[[publish]]",
    "[[mobility.keys]]",
    "[mobility]",
    "port = 8000",
    "port = 0x1f41",
    "port = 99999999999999999999",
    "mtu = 1e999",
    "mtu = \"1200\"",
    "listen = \"[::1]:8554\"",
    "prime_rate = 1.5",
    "join = \"aligned\"",
    "home_prefix = \"fd00::/64\"",
    "trusted_care_of = [\"::1/128\", 7]",
    "rtp = { port = 2, mut = 3 }",
    "home = [1, { name = \"wall\" }]",
    "name = \"wall\"",
    "name = \"../\\u0000\"",
    "title = \"a.mp4\"",
    "url = \"rtsp://camera/\"",
    "path = \"studio/*\"",
    "[[users]]",
    "[[access]]",
    "roles = [\"viewer\"]",
    "users = [\"anna\"]",
    "anyone = true",
    "username = 'anna'",
    "password = \"\"\"",
    "spi = \"0x1234\"",
    "key_file = \"secrets/tv.key\"",
    "level.of = 2026-01-01",
];

proptest! {
    /// Whatever the text, it is a configuration that can be shown and read again, or each error has its line in it.
    #[test]
    fn any_text_is_a_configuration_or_told_with_its_places(
        lines in proptest::collection::vec(prop_oneof![6 => proptest::sample::select(&LINES[..]).prop_map(str::to_owned), 1 => "\\PC{0,20}"], 0..12),
    ) {
        let text = lines.join("\n");
        match load(&text, &[], &[]) {
            Ok(loaded) => {
                let shown = loaded.shown();
                if loaded.config.publish.is_empty() && loaded.config.users.is_empty() && loaded.config.mobility.keys.is_empty() && !text.contains("password") {
                    let again = load(&shown, &[], &[]).map_err(|errors| TestCaseError::fail(format!("{errors}\n{shown}")))?;
                    prop_assert_eq!(again.config, loaded.config);
                }
            }
            Err(errors) => {
                prop_assert!(!errors.0.is_empty());
                for error in &errors.0 {
                    let is_there = matches!(&error.origin, Origin::File { name, line } if name == "f.toml" && (1..=lines.len().max(1)).contains(line));
                    prop_assert!(is_there, "{}\n{}", error, text);
                }
            }
        }
    }
}

#[test]
fn consent_is_of_all_home_addresses_or_of_one_and_its_pin_is_shown_to_nobody() {
    let file = "[steering]\nconsent = \"ask-holder\"\n[[home]]\nname = \"wall\"\nconsent = \"pin\"\npin = \"4711\"\n\
                [[home]]\nname = \"hall\"\nconsent = \"webhook\"\nwebhook = \"http://[::1]:9000/may\"\n";
    let loaded = load(file, &[], &[]).expect("sound");
    let (shown, config) = (loaded.shown(), &loaded.config);
    assert_eq!((config.steering.consent, config.home[0].consent), (Consent::AskHolder, Some(Consent::Pin)));
    assert!(shown.contains("consent = \"pin\"\n# its pin is not shown\n") && !format!("{shown}{config:?}").contains("4711"), "{shown}");
    assert!(load(&shown.replace("# its pin is not shown", "pin = \"1\""), &[], &[]).is_ok(), "{shown}");
    let home = |text: &str| wrong(&format!("[[home]]\nname = \"wall\"\n{text}"));
    assert_eq!(home("consent = \"perhaps\"\n"), [format!("f.toml:3: home.consent: {}", Consent::HELP)]);
    assert_eq!(home("consent = \"pin\"\n").len(), 1);
    assert_eq!(home("pin = \"1\"\n").len(), 1, "a PIN without its policy");
    assert_eq!(home("consent = \"webhook\"\n").len(), 1);
    for url in ["ftp://host/", "http://user@host/", "http://", "/may"] {
        let told = home(&format!("webhook = \"{url}\"\n"));
        assert_eq!(told, ["f.toml:3: home.webhook: is an http:// or https:// URL with a host"], "{url}");
    }
    let secured = "webhook = \"https://host/\"\n";
    assert_eq!(home(secured), ["f.toml:3: home.webhook: an https:// URL needs steering.consent_ca"]);
    assert!(load(&format!("[[home]]\nname = \"wall\"\n{secured}[steering]\nconsent_ca = \"ca.pem\"\n"), &[], &[]).is_ok());
    assert_eq!(
        wrong("[steering]\nconsent_webhook = \"https://host/\"\n"),
        ["f.toml:2: steering.consent_webhook: an https:// URL needs steering.consent_ca"]
    );
    assert_eq!(wrong("[steering]\nconsent = \"pin\"\n").len(), 1);
    assert_eq!(wrong("[steering]\nconsent = \"webhook\"\n"), ["f.toml:2: steering.consent: a webhook needs steering.consent_webhook"]);
}
