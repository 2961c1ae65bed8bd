//! Redirects.

use bowline_mesh::{Hostname, PathChange, PathMatch, Redirect, RedirectScheme};
use bowline_proto::envoy::config::route::v3::{
    RedirectAction,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};

use super::{
    Parent,
    headers::is_value,
    path::{EnvoyPathChange, path_change},
};

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

pub(super) fn redirect_action(
    redirect: &Redirect,
    matched: &PathMatch,
    parent: Parent,
    refused: &mut Vec<String>,
) -> RedirectAction {
    let Redirect {
        scheme,
        host,
        port: _,
        path,
        status,
    } = redirect;
    let mut action = RedirectAction {
        host_redirect: host.as_ref().map(Hostname::to_string).unwrap_or_default(),
        port_redirect: port(redirect, parent).unwrap_or_default().into(),
        scheme_rewrite_specifier: scheme.map(|scheme| {
            SchemeRewriteSpecifier::SchemeRedirect(match scheme {
                RedirectScheme::Http => "http".to_owned(),
                RedirectScheme::Https => "https".to_owned(),
            })
        }),
        path_rewrite_specifier: path
            .as_ref()
            .and_then(|path| path_specifier(path, matched, refused)),
        ..RedirectAction::default()
    };
    action.set_response_code(match status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    });
    action
}

/// The port to write; `None` where Envoy writes the right one, or rightly none.
///
/// Without a port of ours Envoy keeps that of the request's Host (leaving out 80 and 443 where the scheme changes), and writes none
/// after a host of ours.
fn port(redirect: &Redirect, parent: Parent) -> Option<u16> {
    let Redirect {
        scheme,
        host,
        port,
        path: _,
        status: _,
    } = redirect;
    let listener = match parent {
        Parent::Gateway { port } => Some(port),
        Parent::Service => None,
    };
    let usual = match scheme.unwrap_or(RedirectScheme::Http) {
        RedirectScheme::Http => HTTP,
        RedirectScheme::Https => HTTPS,
    };
    let wanted = match (port, scheme, host) {
        (Some(port), _, _) => *port,
        (None, Some(_), _) => usual,
        (None, None, Some(_)) => listener?,
        (None, None, None) => return None,
    };
    // A usual port need not be written, unless Envoy would write that of a Host that names another.
    let is_silent = host.is_some() || matches!(listener, Some(HTTP | HTTPS));
    (wanted != usual || !is_silent).then_some(wanted)
}

fn path_specifier(
    path: &PathChange,
    matched: &PathMatch,
    refused: &mut Vec<String>,
) -> Option<PathRewriteSpecifier> {
    if let PathChange::Full(path) = path {
        if !is_value(path) {
            refused.push("the path has characters that no header can have".to_owned());
            return None;
        }
        return Some(PathRewriteSpecifier::PathRedirect(path.to_string()));
    }
    match path_change(path, matched) {
        Ok(None) => None,
        Ok(Some(EnvoyPathChange::Prefix(prefix))) => {
            Some(PathRewriteSpecifier::PrefixRewrite(prefix))
        }
        Ok(Some(EnvoyPathChange::Regex(regex))) => Some(PathRewriteSpecifier::RegexRewrite(regex)),
        Err(why) => {
            refused.push(why);
            None
        }
    }
}
