//! Names of the form `xdstp://authority/type/id?key=value`, and the collections and namespaces that names belong to.

use std::borrow::Cow;

const SCHEME: &str = "xdstp:";

/// The form in which two spellings of one `xdstp:` name are equal: context parameters in order, nothing encoded that need not be
/// (RFC 3986, section 6.2.2). Other names are compared byte by byte and stay as they are.
pub fn normalized(name: &str) -> Cow<'_, str> {
    if !name.starts_with(SCHEME) {
        return Cow::Borrowed(name);
    }
    let (name, directives) = match name.split_once('#') {
        Some((name, directives)) => (name, Some(directives)),
        None => (name, None),
    };
    let (path, parameters) = name.split_once('?').unwrap_or((name, ""));
    let mut normalized = decoded(path);
    let mut parameters: Vec<String> = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(decoded)
        .collect();
    parameters.sort_unstable();
    for (index, parameter) in parameters.iter().enumerate() {
        normalized.push(if index == 0 { '?' } else { '&' });
        normalized.push_str(parameter);
    }
    if let Some(directives) = directives {
        normalized.push('#');
        normalized.push_str(directives);
    }
    Cow::Owned(normalized)
}

/// The glob collection that a normalized name is a member of: `xdstp://a/t/dir/*?k=v` for `xdstp://a/t/dir/name?k=v`. Members of deeper
/// levels are in collections of their own. Other names are in none.
pub fn collection_of(name: &str) -> Option<String> {
    let (path, parameters) = split_parameters(name)?;
    let (directory, id) = path.rsplit_once('/')?;
    (id != "*").then(|| format!("{directory}/*{parameters}"))
}

/// What the names of all members of a glob collection begin with, and possibly those of others; `None` for a name that is no collection.
pub fn collection_prefix(name: &str) -> Option<&str> {
    let (path, _) = split_parameters(name)?;
    let directory = path.strip_suffix('*')?;
    directory.ends_with('/').then_some(directory)
}

/// The namespace of a name such as `{namespace}/{rest}`, cut at the last `/`, as Envoy does for virtual hosts.
pub fn namespace_of(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(namespace, _)| namespace)
}

/// The path of an `xdstp:` name, and all that follows it.
fn split_parameters(name: &str) -> Option<(&str, &str)> {
    if !name.starts_with(SCHEME) {
        return None;
    }
    let end = name.find(['?', '#']).unwrap_or(name.len());
    name.split_at_checked(end)
}

/// Takes the percent-encoding off characters that do not need it, and writes the rest of it in capitals.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let digits = after
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, after.get(2..)) {
            (Some(byte), Some(after)) => {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    decoded.push(char::from(byte));
                } else {
                    decoded.push_str(&format!("%{byte:02X}"));
                }
                rest = after;
            }
            (None, _) | (_, None) => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_have_one_form() {
        for (name, expected) in [
            ("xdstp://a/t/x?b=2&a=1", "xdstp://a/t/x?a=1&b=2"),
            ("xdstp://a/t/x?a=1&b=2", "xdstp://a/t/x?a=1&b=2"),
            ("xdstp://a/t/%41%2d%2f%3a", "xdstp://a/t/A-%2F%3A"),
            ("xdstp://a/t/x?", "xdstp://a/t/x"),
            ("xdstp://a/t/x?&&", "xdstp://a/t/x"),
            ("xdstp://a/t/x#entry=y", "xdstp://a/t/x#entry=y"),
            ("xdstp://a/t/100%", "xdstp://a/t/100%"),
            ("xdstp://a/t/%+1%é", "xdstp://a/t/%+1%é"),
            ("outbound|80||b?b=2&a=1", "outbound|80||b?b=2&a=1"),
        ] {
            assert_eq!(normalized(name), expected, "{name}");
            assert_eq!(normalized(expected), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_in_the_collection_of_its_directory_only() {
        for (name, expected) in [
            ("xdstp://a/t/b", Some("xdstp://a/t/*")),
            ("xdstp://a/t/d/b?k=v", Some("xdstp://a/t/d/*?k=v")),
            ("xdstp://a/t/d/*?k=v", None),
            ("a/b", None),
        ] {
            assert_eq!(collection_of(name).as_deref(), expected, "{name}");
        }
        for (name, expected) in [
            ("xdstp://a/t/d/*?k=v", Some("xdstp://a/t/d/")),
            ("xdstp://a/t/d*", None),
            ("xdstp://a/t/d", None),
            ("a/*", None),
        ] {
            assert_eq!(collection_prefix(name), expected, "{name}");
        }
    }

    #[test]
    fn a_namespace_ends_at_the_last_slash() {
        assert_eq!(namespace_of("routes/of/cart:80"), Some("routes/of"));
        assert_eq!(namespace_of("cart"), None);
    }
}
