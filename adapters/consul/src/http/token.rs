//! The ACL token: read from a file, never shown.

use std::{fmt, io, path::PathBuf};

use http::HeaderValue;
use tokio::io::AsyncReadExt as _;

/// Tokens have 36 bytes; a file with much more is none.
const BYTES_MAX: u64 = 4096;

/// An ACL token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(HeaderValue);

impl Token {
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A file with a token, which may change.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: Option<PathBuf>,
    token: Option<Token>,
}

impl TokenFile {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, token: None }
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Reads the file. Says whether the token is another one; one that cannot be read stays as it was.
    ///
    /// # Errors
    /// When there is a file, and it has no token.
    pub(crate) async fn read(&mut self) -> Result<bool, String> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let wrong = |error: String| format!("token_file {}: {error}", path.display());
        let mut text = String::new();
        let read = async {
            let file = tokio::fs::File::open(path).await?;
            file.take(BYTES_MAX + 1).read_to_string(&mut text).await
        };
        read.await
            .map_err(|error: io::Error| wrong(error.to_string()))?;
        let text = text.trim();
        if text.is_empty() || text.len() as u64 > BYTES_MAX {
            return Err(wrong(format!(
                "it has {} bytes, which is no token",
                text.len()
            )));
        }
        let mut header = HeaderValue::from_str(text)
            .map_err(|_| wrong("it has bytes that no token has".to_owned()))?;
        header.set_sensitive(true);
        let token = Some(Token(header));
        let is_other = token != self.token;
        self.token = token;
        Ok(is_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_read_again_and_one_that_cannot_be_read_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let mut file = TokenFile::new(Some(path.clone()));
        assert!(file.read().await.unwrap_err().contains("token"));
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(file.read().await, Ok(true));
        assert_eq!(file.read().await, Ok(false));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(file.read().await, Ok(true));
        for wrong in ["", "\n", "a\nb", &"x".repeat(5000)] {
            std::fs::write(&path, wrong).unwrap();
            assert!(file.read().await.is_err(), "{wrong:?}");
        }
        assert_eq!(file.token().unwrap().header(), "two");
        assert_eq!(format!("{:?}", file.token()), "Some([redacted])");
    }
}
