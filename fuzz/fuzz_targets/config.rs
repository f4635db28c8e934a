//! Any text as a configuration: what is wrong is told with its place, and what is right can be shown and read again.

#![no_main]

use flowsteer::config::{ConfigErrors, Layers, Loaded, Origin};
use libfuzzer_sys::fuzz_target;

fn load(text: &str) -> Result<Loaded, ConfigErrors> {
    let read_file = |_: &std::path::Path| Err("no such file".to_owned());
    Layers { file: Some(("fuzz.toml", text)), ..Layers::default() }.load(&read_file)
}

fuzz_target!(|text: &str| {
    match load(text) {
        Err(errors) => {
            let lines = text.bytes().filter(|octet| *octet == b'\n').count() + 1;
            assert!(!errors.0.is_empty());
            for error in errors.0 {
                let Origin::File { name, line } = &error.origin else { panic!("{error}: of another place") };
                assert!(name == "fuzz.toml" && (1..=lines).contains(line), "{error}");
                assert!(error.to_string().starts_with(&format!("fuzz.toml:{line}: ")));
            }
        }
        Ok(loaded) => {
            let config = &loaded.config;
            let has_pins = config.home.iter().any(|home| home.pin.is_some());
            let has_secrets = !config.http.tokens.is_empty() || !config.mobility.keys.is_empty() || !config.users.is_empty() || has_pins;
            if has_secrets || !config.publish.is_empty() || config.camera.iter().any(|camera| camera.password.is_some()) {
                return;
            }
            let again = load(&loaded.shown()).unwrap_or_else(|errors| panic!("{errors}\n{}", loaded.shown()));
            assert_eq!(again.config, *config);
        }
    }
});
