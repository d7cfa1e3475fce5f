//! Texts that grow up to a bound: a template of a few characters can make terabytes.

use std::io::{self, Write};

/// The longest text that a template makes, in bytes.
pub(super) const MAX_TEXT: usize = 64 << 20;

/// A text that grows up to a bound.
#[derive(Default)]
pub(super) struct Bounded {
    text: Vec<u8>,
    /// More was written than fits.
    pub is_over: bool,
}

impl Bounded {
    /// Returns what was written.
    pub fn into_text(self) -> String {
        String::from_utf8(self.text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_over |= self.text.len() + bytes.len() > MAX_TEXT;
        if self.is_over {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
