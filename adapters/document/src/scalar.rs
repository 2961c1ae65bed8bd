//! What a scalar without quotes means: the core schema of YAML 1.2 (section 10.3.2).

use crate::{Kind, Number};

/// The value of a plain scalar.
pub(crate) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => match number(text) {
            Some(number) => Kind::Number(number),
            None => Kind::String(text.into()),
        },
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = |digits: &str, radix| {
        u64::from_str_radix(digits, radix)
            .ok()
            .map(Number::Unsigned)
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return is_all(digits, |byte| byte.is_ascii_digit()).then(|| unsigned(digits, 8))?;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return is_all(digits, |byte| byte.is_ascii_hexdigit()).then(|| unsigned(digits, 16))?;
    }
    let without_sign = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_all(without_sign, |byte| byte.is_ascii_digit()) {
        if let Ok(value) = text.parse() {
            return Some(Number::Unsigned(value));
        }
        if let Ok(value) = text.parse::<i64>() {
            return Some(match u64::try_from(value) {
                Ok(value) => Number::Unsigned(value),
                Err(_) => Number::Negative(value),
            });
        }
    }
    match without_sign {
        ".inf" | ".Inf" | ".INF" => {
            let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
            return Some(Number::Float(f64::INFINITY * sign));
        }
        _ => {}
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Number::Float(f64::NAN));
    }
    // Rust reads "inf", "nan" and "infinity" too, which are text in YAML.
    let begins_as_number = without_sign
        .trim_start_matches('.')
        .starts_with(|first: char| first.is_ascii_digit());
    if !begins_as_number {
        return None;
    }
    text.parse().ok().map(Number::Float)
}

fn is_all(digits: &str, allowed: impl Fn(&u8) -> bool) -> bool {
    !digits.is_empty() && digits.as_bytes().iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_yaml_1_2_says() {
        let unsigned = |value| Kind::Number(Number::Unsigned(value));
        let float = |value| Kind::Number(Number::Float(value));
        let text = |text: &str| Kind::String(text.into());
        let cases = [
            ("", Kind::Null),
            ("~", Kind::Null),
            ("true", Kind::Bool(true)),
            ("FALSE", Kind::Bool(false)),
            ("yes", text("yes")),
            ("off", text("off")),
            ("8080", unsigned(8080)),
            ("+1", unsigned(1)),
            ("-0", unsigned(0)),
            ("-7", Kind::Number(Number::Negative(-7))),
            ("010", unsigned(10)),
            ("0o17", unsigned(15)),
            ("0xff", unsigned(255)),
            ("0x", text("0x")),
            ("0o9", text("0o9")),
            ("18446744073709551616", float(18_446_744_073_709_551_616.0)),
            ("1.5", float(1.5)),
            (".5", float(0.5)),
            ("1.", float(1.0)),
            ("1e3", float(1000.0)),
            ("-.inf", float(f64::NEG_INFINITY)),
            ("inf", text("inf")),
            ("nan", text("nan")),
            ("..5", text("..5")),
            ("1.2.3", text("1.2.3")),
            ("10.0.0.1", text("10.0.0.1")),
            ("30s", text("30s")),
            ("-", text("-")),
            ("1_000", text("1_000")),
        ];
        for (written, expected) in cases {
            assert_eq!(resolve(written), expected, "{written}");
        }
    }
}
