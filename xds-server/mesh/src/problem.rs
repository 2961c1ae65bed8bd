//! Problems: what is wrong with one object, as data.

use std::{fmt, sync::Arc};

use serde::Serialize;

use crate::{ObjectKey, Source};

/// Something wrong with one object. Never a reason to drop other objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Problem {
    /// What kind of problem, for people to look up and machines to count.
    pub code: Code,
    /// Whether anything works worse because of it.
    pub severity: Severity,
    /// The object, where one is known: a file that cannot be read has none.
    pub object: Option<ObjectKey>,
    /// Where it is written.
    pub source: Option<Source>,
    /// The field, as a path such as `ports[0].number`; empty where it is about the object as a whole.
    pub field: Arc<str>,
    /// What is wrong.
    pub message: Arc<str>,
    /// What happens in the meantime: the last good version is kept, requests are answered with 500…
    pub meanwhile: Arc<str>,
    /// What to do.
    pub hint: Arc<str>,
}

/// `BW0203 error inventory.yaml:12 vms: service default/cart: ports[0].number: … (meanwhile: …; hint: …)`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            severity,
            object,
            source,
            field,
            message,
            meanwhile,
            hint,
        } = self;
        write!(f, "{code} {severity} ")?;
        if let Some(source) = source {
            write!(f, "{source} ")?;
        }
        if let Some(object) = object {
            write!(f, "{object}: ")?;
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{message} (meanwhile: {meanwhile}; hint: {hint})")
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// An object, or a part of it, does not act as written.
    Error,
    /// All acts as written, but probably not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)*) => {
        /// The closed list of problems. Codes are stable: they appear in dashboards and alerts, and are never used again for
        /// something else. The hundreds say who finds it: 1 reading files, 2 reading objects, 3 the mesh, 4 translation, 5 the running server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Such as `BW0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

codes! {
    /// A file or directory cannot be read.
    Unreadable = "BW0101",
    /// A file is not well-formed: syntax, encoding, or it was caught half-written.
    Malformed = "BW0102",
    /// A file or object is larger than the limit.
    TooLarge = "BW0103",
    /// A registry, or a part of it, does not answer, or not with what can be read.
    Unavailable = "BW0104",
    /// A registry hides a part of what it has.
    Hidden = "BW0105",
    /// A directory has no file to read.
    EmptyDirectory = "BW0106",
    /// A field has a value that it cannot have.
    InvalidField = "BW0201",
    /// A field that is not known here.
    UnknownField = "BW0202",
    /// A field that is valid but not honoured.
    UnsupportedField = "BW0203",
    /// Two objects of one registry have the same name.
    Duplicate = "BW0204",
    /// A kind of object that is not read.
    UnsupportedKind = "BW0205",
    /// A reference to an object that is not there or may not be referred to.
    UnresolvedReference = "BW0206",
    /// A registry contributes to a namespace or hostname that its entry does not allow.
    NotAllowed = "BW0301",
    /// Registries disagree about a service, or about the network into which a gateway leads.
    Conflict = "BW0302",
    /// Endpoints of a service that no registry has.
    UnknownService = "BW0303",
    /// A route sends requests to a service or port that no registry has.
    UnknownBackend = "BW0304",
    /// A route is attached to something that is not there or does not allow it.
    UnknownParent = "BW0305",
    /// A sudden loss of endpoints is held back until it is confirmed.
    HeldBack = "BW0306",
    /// No virtual address is left in the configured range.
    NoVirtualAddress = "BW0307",
    /// Two things would listen on the same address.
    ListenerConflict = "BW0401",
    /// Weights of a route sum to zero.
    NoWeight = "BW0402",
    /// An endpoint cannot be reached from where the proxy stands.
    Unreachable = "BW0403",
    /// Something cannot be expressed for this kind of proxy.
    NotTranslatable = "BW0404",
    /// Two rules answer the same requests; the later one never acts.
    Shadowed = "BW0405",
    /// The configuration file was changed while the server runs, and is wrong.
    WrongConfiguration = "BW0501",
    /// A change of the configuration waits for a restart.
    NeedsRestart = "BW0502",
    /// The state cannot be kept.
    StateNotKept = "BW0503",
    /// The certificate of the xDS server cannot be replaced by a newer one.
    StaleCertificate = "BW0504",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_mean_something() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
    }
}
