//! Resources that are made when they are asked for.

use std::{fmt, sync::Arc};

use crate::Resource;

/// How resources of one type are made for those who ask for them by name, where more names have a meaning than could be listed.
///
/// It is a pure function of the name: whoever asks again, or elsewhere, is given the same. A clone shares it.
#[derive(Clone)]
pub struct Recipe(Arc<Make>);

type Make = dyn Fn(&str) -> Option<Resource> + Send + Sync;

impl Recipe {
    /// The recipe that makes the resource with a name, or says that there is none.
    pub fn new(make: impl Fn(&str) -> Option<Resource> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The resource with this name.
    pub fn make(&self, name: &str) -> Option<Resource> {
        (self.0)(name)
    }

    /// Whether both are the same one. Recipes that make the same may say no.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipe")
    }
}
