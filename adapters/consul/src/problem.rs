//! What is wrong with a scope, or with one service in it, as the mesh reports it.

use bowline_mesh::{Code, Problem, RegistrySettings, Severity, Source};

use crate::{
    mapping::{Context, source},
    scope::Scope,
    watcher::Trouble,
};

/// A whole scope cannot be read, while others can.
pub(crate) fn scope_fails(scope: &Scope, error: &str) -> Problem {
    Problem {
        code: Code::Unavailable,
        severity: Severity::Error,
        object: None,
        source: Some(of_scope(scope)),
        field: "".into(),
        message: error.into(),
        meanwhile: "what it said last is served".into(),
        hint: "look at Consul there; it is asked again by itself".into(),
    }
}

/// The token may not see all names.
pub(crate) fn names_hidden(scope: &Scope) -> Problem {
    Problem {
        code: Code::Hidden,
        severity: Severity::Warning,
        object: None,
        source: Some(of_scope(scope)),
        field: "".into(),
        message: "the token may not see all services".into(),
        meanwhile: "services that it may not see are not in the mesh; those that it could see before stay as they were".into(),
        hint: TOKEN_HINT.into(),
    }
}

/// One service cannot be read.
pub(crate) fn trouble(
    settings: &RegistrySettings,
    scope: &Scope,
    service: &str,
    trouble: &Trouble,
) -> Problem {
    let (code, message, hint) = match trouble {
        Trouble::Hidden => (
            Code::Hidden,
            "the token may not see its instances any more".into(),
            TOKEN_HINT,
        ),
        Trouble::Failing(error) => (
            Code::Unavailable,
            error.clone(),
            "look at the service in Consul; it is asked again by itself",
        ),
    };
    Problem {
        code,
        severity: Severity::Error,
        object: None,
        source: Some(source(Context {
            settings,
            scope,
            service,
        })),
        field: "".into(),
        message,
        meanwhile: "what was known of it is served".into(),
        hint: hint.into(),
    }
}

fn of_scope(scope: &Scope) -> Source {
    Source {
        place: format!("consul {scope}").into(),
        line: None,
    }
}

const TOKEN_HINT: &str = "let it read all: `service_prefix \"\" {policy = \"read\"}` and `node_prefix \"\" {policy = \"read\"}`";
