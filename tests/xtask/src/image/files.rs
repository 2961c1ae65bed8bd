//! What is in the image: the program, roots of public authorities, and a user that is not root.

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::tar::{Content, Entry};

/// Where the program is.
pub const PROGRAM: &str = "usr/local/bin/bowline";
/// Where its state is, if the configuration says so: a folder that its user may write to.
pub const STATE: &str = "var/lib/bowline";
/// The user and group that the program runs as.
pub const USER: u32 = 65532;

const ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";
const PEM_LINE: usize = 64;

/// All files, each after the directories that it is in.
pub fn all(program: Vec<u8>) -> Vec<Entry> {
    let directory = |path| entry(path, 0o755, 0, Content::Directory);
    let file = |path, text: String| entry(path, 0o644, 0, Content::File(text.into_bytes()));
    vec![
        directory("etc"),
        directory("etc/bowline"),
        file("etc/group", format!("root:x:0:\nbowline:x:{USER}:\n")),
        file("etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
        file(
            "etc/passwd",
            format!(
                "root:x:0:0:root:/:/sbin/nologin\nbowline:x:{USER}:{USER}:bowline:/{STATE}:/sbin/nologin\n"
            ),
        ),
        directory("etc/ssl"),
        directory("etc/ssl/certs"),
        file(ROOTS, roots()),
        entry("tmp", 0o1777, 0, Content::Directory),
        directory("usr"),
        directory("usr/local"),
        directory("usr/local/bin"),
        entry(PROGRAM, 0o755, 0, Content::File(program)),
        directory("var"),
        directory("var/lib"),
        entry(STATE, 0o700, USER, Content::Directory),
    ]
}

/// Where programs look for the roots.
pub fn roots_path() -> String {
    format!("/{ROOTS}")
}

/// Whether a program needs nothing else to run: an ELF file that names no interpreter.
///
/// # Errors
/// When it does, or is something else.
pub fn check_static(program: &[u8]) -> Result<()> {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let field = program.get(at..at + bytes)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        )
    };
    if program.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit program for Linux");
    }
    let segments = || -> Option<Vec<u64>> {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count)
            .map(|segment| number(usize::try_from(start + segment * size).ok()?, 4))
            .collect()
    };
    let segments = segments().context("not a complete program")?;
    if segments.contains(&u64::from(INTERPRETER)) {
        bail!("the program is not static: there is nothing in the image that could start it");
    }
    Ok(())
}

fn entry(path: &'static str, mode: u32, owner: u32, content: Content) -> Entry {
    Entry {
        path,
        mode,
        owner,
        content,
    }
}

/// The roots that Mozilla trusts, as the pinned crate has them: not those of the machine that builds.
fn roots() -> String {
    let mut text = String::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut encoded = STANDARD.encode(root);
        while !encoded.is_empty() {
            let rest = encoded.split_off(encoded.len().min(PEM_LINE));
            text.push_str(&encoded);
            text.push('\n');
            encoded = rest;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
