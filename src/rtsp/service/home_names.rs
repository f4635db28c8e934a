//! Names of home addresses, and the titles that start there.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::library::TitlePath;

/// The names, shared with who reads the configuration again.
#[derive(Clone, Debug, Default)]
pub struct HomeNames(Arc<ArcSwap<HashMap<String, Option<TitlePath>>>>);

impl HomeNames {
    /// Whether a name is known.
    pub fn contains(&self, name: &str) -> bool {
        self.0.load().contains_key(name)
    }

    /// The title that starts under a name.
    pub fn title(&self, name: &str) -> Option<TitlePath> {
        self.0.load().get(name).cloned().flatten()
    }

    /// Adds a name, or gives it another title.
    pub fn insert(&self, name: String, title: Option<TitlePath>) {
        self.0.rcu(|names| {
            let mut names = HashMap::clone(names);
            names.insert(name.clone(), title.clone());
            names
        });
    }

    /// These names in place of those before.
    pub fn replace(&self, names: impl IntoIterator<Item = (String, Option<TitlePath>)>) {
        self.0.store(Arc::new(names.into_iter().collect()));
    }
}
