//! Regular expressions, checked before Envoy sees them: it refuses a whole configuration for one expression that RE2 does not take.
//!
//! The expressions are parsed by the grammar of Rust's, which is close to RE2's; what that grammar has beyond RE2 is refused.

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSet, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flag, Flags,
    FlagsItemKind, GroupKind, HexLiteralKind, Literal, LiteralKind, RepetitionKind,
    RepetitionRange, Visitor, parse::Parser,
};

use crate::report::{Field, Report};

/// The longest text that Kubernetes accepts.
const BYTES_MAX: usize = 4096;

/// Repetitions within each other, multiplied: RE2's limit.
const REPETITIONS_MAX: u32 = 1000;

/// Instructions of the compiled program, as estimated here. Every request may run through all of them.
const PROGRAM_MAX: u64 = 2000;

/// General categories, and the scripts that occur; RE2 knows these by the same names as Unicode.
const UNICODE_CLASSES: &[&str] = &[
    "C",
    "Cc",
    "Cf",
    "Co",
    "Cs",
    "L",
    "Ll",
    "Lm",
    "Lo",
    "Lt",
    "Lu",
    "M",
    "Mc",
    "Me",
    "Mn",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Pe",
    "Pf",
    "Pi",
    "Po",
    "Ps",
    "S",
    "Sc",
    "Sk",
    "Sm",
    "So",
    "Z",
    "Zl",
    "Zp",
    "Zs",
    "Arabic",
    "Cyrillic",
    "Devanagari",
    "Greek",
    "Han",
    "Hangul",
    "Hebrew",
    "Hiragana",
    "Katakana",
    "Latin",
    "Thai",
];

/// Reports an expression that RE2 would not take, or that is too big.
pub(crate) fn check(expression: &str, field: &Field<'_>, report: &mut Report<'_>) {
    if let Err(message) = problem(expression) {
        report.invalid(
            field,
            message,
            "write it in RE2's syntax (github.com/google/re2/wiki/Syntax)",
        );
    }
}

fn problem(expression: &str) -> Result<(), String> {
    if expression.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if expression.len() > BYTES_MAX {
        return Err(format!("the expression is longer than {BYTES_MAX} bytes"));
    }
    let parsed = Parser::new()
        .parse(expression)
        .map_err(|error| format!("not a regular expression: {}", error.kind()))?;
    match ast::visit(&parsed, Re2::default())? {
        size if size > PROGRAM_MAX => Err(format!(
            "the expression is too big: its program has about {size} steps and may have {PROGRAM_MAX}"
        )),
        _ => Ok(()),
    }
}

/// Walks an expression: refuses what is not RE2's, and adds up how big the program will be.
#[derive(Default)]
struct Re2 {
    /// What has been seen and is not yet part of something bigger.
    parts: Vec<Part>,
}

#[derive(Clone, Copy)]
struct Part {
    size: u64,
    /// The product of the repetitions within each other, on the worst way down.
    repetitions: u32,
}

impl Re2 {
    fn push(&mut self, size: u64) {
        self.parts.push(Part {
            size,
            repetitions: 1,
        });
    }

    /// Puts the last parts together, with some instructions for each.
    fn join(&mut self, count: usize, for_each: u64) {
        let parts = self.parts.split_off(self.parts.len().saturating_sub(count));
        self.parts.push(Part {
            size: parts.iter().fold(1, |size, part| {
                size.saturating_add(part.size).saturating_add(for_each)
            }),
            repetitions: parts.iter().map(|part| part.repetitions).max().unwrap_or(1),
        });
    }

    fn repeat(&mut self, kind: &RepetitionKind) -> Result<(), String> {
        // How often it is written out in the program, and what each costs besides itself.
        let (times, more) = match kind {
            RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => {
                (1, 1)
            }
            RepetitionKind::Range(RepetitionRange::Exactly(times)) => (*times, 0),
            RepetitionKind::Range(
                RepetitionRange::AtLeast(times) | RepetitionRange::Bounded(_, times),
            ) => (*times, 1),
        };
        let Some(part) = self.parts.last_mut() else {
            return Ok(());
        };
        let copies = times.max(1);
        part.repetitions = part.repetitions.saturating_mul(copies);
        part.size = part
            .size
            .saturating_add(more)
            .saturating_mul(u64::from(copies));
        if times > REPETITIONS_MAX || part.repetitions > REPETITIONS_MAX {
            return Err(format!(
                "something is repeated more than {REPETITIONS_MAX} times"
            ));
        }
        Ok(())
    }
}

impl Visitor for Re2 {
    type Output = u64;
    type Err = String;

    fn finish(self) -> Result<u64, String> {
        Ok(self.parts.iter().map(|part| part.size).sum())
    }

    fn visit_post(&mut self, part: &Ast) -> Result<(), String> {
        match part {
            Ast::Empty(_) => self.push(1),
            Ast::Flags(flags) => {
                check_flags(&flags.flags)?;
                self.push(0);
            }
            Ast::Literal(literal) => {
                let size = literal_size(literal)?;
                self.push(size);
            }
            Ast::Dot(_) => self.push(10),
            Ast::Assertion(assertion) => {
                check_assertion(&assertion.kind)?;
                self.push(1);
            }
            Ast::ClassUnicode(class) => {
                let size = unicode_size(class)?;
                self.push(size);
            }
            Ast::ClassPerl(_) => self.push(5),
            Ast::ClassBracketed(class) => match &class.kind {
                ClassSet::Item(item) => {
                    let size = item_size(item)?;
                    self.push(size.saturating_add(if class.negated { 10 } else { 0 }));
                }
                ClassSet::BinaryOp(_) => return Err("RE2 does not combine classes".to_owned()),
            },
            Ast::Repetition(repetition) => {
                match &*repetition.ast {
                    Ast::Repetition(_) => {
                        return Err("a repetition follows a repetition".to_owned());
                    }
                    Ast::Empty(_) | Ast::Flags(_) => return Err("nothing is repeated".to_owned()),
                    Ast::Literal(_)
                    | Ast::Dot(_)
                    | Ast::Assertion(_)
                    | Ast::ClassUnicode(_)
                    | Ast::ClassPerl(_)
                    | Ast::ClassBracketed(_)
                    | Ast::Group(_)
                    | Ast::Alternation(_)
                    | Ast::Concat(_) => {}
                }
                self.repeat(&repetition.op.kind)?;
            }
            Ast::Group(group) => {
                check_group(&group.kind)?;
                self.join(1, 1);
            }
            Ast::Alternation(alternation) => self.join(alternation.asts.len(), 1),
            Ast::Concat(concat) => self.join(concat.asts.len(), 0),
        }
        Ok(())
    }
}

fn check_flags(flags: &Flags) -> Result<(), String> {
    let known = flags.items.iter().all(|item| match item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => match flag {
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed => {
                true
            }
            Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace => false,
        },
    });
    if known {
        Ok(())
    } else {
        Err("RE2 knows only the flags i, m, s and U".to_owned())
    }
}

fn check_assertion(kind: &AssertionKind) -> Result<(), String> {
    match kind {
        AssertionKind::StartLine
        | AssertionKind::EndLine
        | AssertionKind::StartText
        | AssertionKind::EndText
        | AssertionKind::WordBoundary
        | AssertionKind::NotWordBoundary => Ok(()),
        AssertionKind::WordBoundaryStart
        | AssertionKind::WordBoundaryEnd
        | AssertionKind::WordBoundaryStartAngle
        | AssertionKind::WordBoundaryEndAngle
        | AssertionKind::WordBoundaryStartHalf
        | AssertionKind::WordBoundaryEndHalf => {
            Err("RE2 knows only the word boundaries \\b and \\B".to_owned())
        }
    }
}

fn check_group(kind: &GroupKind) -> Result<(), String> {
    match kind {
        GroupKind::CaptureIndex(_) => Ok(()),
        GroupKind::NonCapturing(flags) => check_flags(flags),
        GroupKind::CaptureName { name, .. } => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.name.chars().all(allowed) {
                Ok(())
            } else {
                Err("a group's name has letters, digits and '_' only".to_owned())
            }
        }
    }
}

fn literal_size(literal: &Literal) -> Result<u64, String> {
    match literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("RE2 writes characters by number as \\x{10FFFF}".to_owned())
        }
        LiteralKind::Verbatim
        | LiteralKind::Meta
        | LiteralKind::Superfluous
        | LiteralKind::Octal
        | LiteralKind::HexFixed(HexLiteralKind::X)
        | LiteralKind::HexBrace(HexLiteralKind::X)
        | LiteralKind::Special(_) => Ok(if literal.c.is_ascii() { 1 } else { 4 }),
    }
}

fn unicode_size(class: &ClassUnicode) -> Result<u64, String> {
    let known = match &class.kind {
        ClassUnicodeKind::OneLetter(letter) => {
            UNICODE_CLASSES.contains(&letter.to_string().as_str())
        }
        ClassUnicodeKind::Named(name) => UNICODE_CLASSES.contains(&name.as_str()),
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if known {
        Ok(400)
    } else {
        Err(
            "a class of characters is not known here: use a category such as \\pL or \\p{Lu}"
                .to_owned(),
        )
    }
}

fn item_size(item: &ClassSetItem) -> Result<u64, String> {
    match item {
        ClassSetItem::Empty(_) => Ok(1),
        ClassSetItem::Literal(literal) => literal_size(literal),
        ClassSetItem::Range(range) => {
            literal_size(&range.start)?;
            Ok(if literal_size(&range.end)? == 1 {
                1
            } else {
                10
            })
        }
        ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(5),
        ClassSetItem::Unicode(class) => unicode_size(class),
        ClassSetItem::Bracketed(_) => {
            Err("RE2 has no classes within classes: write \\[".to_owned())
        }
        ClassSetItem::Union(union) => union.items.iter().try_fold(1_u64, |size, item| {
            Ok(size.saturating_add(item_size(item)?))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_takes_is_accepted() {
        let cases = [
            "/v[0-9]+/.*",
            r"(?i)/Cart(/\d+)?",
            r"^/(?P<id>[^/]+)/(?:a|b){1,3}?$",
            r"\pL+\p{Greek}",
            r"[[:alpha:]_\-.]*",
            r"\x{1F600}\x41\.\/\_",
            r"(?s:.)\bé",
            "a{1000}",
        ];
        for expression in cases {
            assert_eq!(problem(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn what_re2_does_not_take_is_refused() {
        let cases = [
            "",
            "(",
            "[a",
            "*a",
            "a**",
            "a{2}{3}",
            "(?=a)",
            r"(a)\1",
            "(?x)a b",
            "(?R)a",
            "[a&&b]",
            "[[a]b]",
            r"\u0041",
            r"\<a",
            r"\p{Script=Greek}",
            r"\p{Letter}",
            "(?P<a.b>x)",
            "a{1001}",
            "(a{100}){100}",
            r"\z\Z",
        ];
        for expression in cases {
            assert!(problem(expression).is_err(), "{expression} was accepted");
        }
    }

    #[test]
    fn bombs_are_refused_at_once() {
        let nested = "(".repeat(2000) + &")".repeat(2000);
        let long = "a|".repeat(100_000);
        let cases = [
            "(((a{30}){30}){30}){30}",
            "(.{100}){10}",
            r"\pL{100}",
            &nested,
            &long,
        ];
        for expression in cases {
            assert!(problem(expression).is_err(), "{expression} was accepted");
        }
    }
}
