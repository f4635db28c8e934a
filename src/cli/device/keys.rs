//! Key files: TOML with one or more `[[mobility.keys]]` entries, as `flowsteer keygen` prints them.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cli::device::file::read_file;
use crate::config::Layers;
use crate::mobility::Provisioned;
use crate::steering::{Key, Spi};

/// The entry of that identity, or the only one.
///
/// # Errors
/// The file is none, or has no such entry.
pub fn read(path: &Path, nai: Option<&str>) -> anyhow::Result<Provisioned> {
    let text = read_file(path)?;
    let beside = path.parent().unwrap_or(Path::new("")).to_owned();
    let read_file = |named: &Path| std::fs::read_to_string(beside.join(named)).map_err(|error| error.to_string());
    let name = path.display().to_string();
    let loaded = Layers { file: Some((&name, &text)), ..Layers::default() }.load(&read_file)?;
    let keys = &loaded.config.mobility.keys;
    let listed = || keys.iter().map(|key| key.nai.as_str()).collect::<Vec<_>>().join(", ");
    let chosen = match (nai, &keys[..]) {
        (_, []) => bail!("{name} has no [[mobility.keys]] entry: `flowsteer keygen` makes one"),
        (None, [only]) => only,
        (None, _) => bail!("{name} has keys of several identities: choose one with --nai, of {}", listed()),
        (Some(nai), keys) => {
            keys.iter().find(|key| key.nai == nai).with_context(|| format!("{name} has no key of {nai}, only of {}", listed()))?
        }
    };
    Ok(Provisioned { spi: Spi(chosen.spi), nai: chosen.nai.clone(), key: Key::new(*chosen.key.expose()) })
}
