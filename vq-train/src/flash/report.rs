//! The lines that the firmware prints (`vq-firmware/src/text.rs`), read: a word, then `key=value` pairs.
//! Lines of other words are somebody else's, such as a debug probe's, and passed over.

use std::str::FromStr;

use super::FlashError;

/// All that a run has printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transcript<'a>(pub(super) &'a str);

/// One line behind its first word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    word: &'a str,
    /// What follows the word.
    pub(super) rest: &'a str,
}

impl<'a> Transcript<'a> {
    /// All lines that begin with `word`.
    pub(super) fn all(self, word: &'a str) -> impl Iterator<Item = Line<'a>> {
        self.0.lines().filter_map(move |line| {
            let (first, rest) = line.trim_end().split_once(' ')?;
            (first == word).then_some(Line { word, rest })
        })
    }

    /// The one line that begins with `word`.
    pub(super) fn one(self, word: &'a str) -> Result<Line<'a>, FlashError> {
        self.all(word)
            .next()
            .ok_or_else(|| FlashError::Report(format!("the line {word:?}")))
    }

    /// The bytes of all lines `word HEX`, one behind the other.
    pub(super) fn bytes(self, word: &'a str) -> Result<Vec<u8>, FlashError> {
        let mut bytes = Vec::new();
        for line in self.all(word) {
            unhex(line.rest, &mut bytes)
                .ok_or_else(|| FlashError::Report(format!("hexadecimal digits in {word:?}")))?;
        }
        Ok(bytes)
    }
}

impl<'a> Line<'a> {
    /// The value of `key`.
    pub(super) fn get<T: FromStr>(self, key: &str) -> Result<T, FlashError> {
        self.text(key)?.parse().map_err(|_| {
            FlashError::Report(format!("a number {key:?} in the line {:?}", self.word))
        })
    }

    /// The value of `key` as it stands there.
    pub(super) fn text(self, key: &str) -> Result<&'a str, FlashError> {
        let mut pairs = self.rest.split(' ').filter_map(|pair| pair.split_once('='));
        pairs
            .find_map(|(name, value)| (name == key).then_some(value))
            .ok_or_else(|| FlashError::Report(format!("{key:?} in the line {:?}", self.word)))
    }
}

fn unhex(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let digit = |c: u8| char::from(c).to_digit(16);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Transcript =
        Transcript("probe: attached\nrow 00ff\nreport a=7 unit=cycles\r\nrow 10\nrowing 22\n");

    #[test]
    fn lines_are_found_by_their_word() {
        assert_eq!(TEXT.bytes("row").unwrap(), [0, 255, 16]);
        let report = TEXT.one("report").unwrap();
        assert_eq!(report.get::<u32>("a").unwrap(), 7);
        assert_eq!(report.text("unit").unwrap(), "cycles");
    }

    #[test]
    fn what_is_missing_or_garbled_is_named() {
        let report = TEXT.one("report").unwrap();
        let said = |error: FlashError| error.to_string();
        assert!(said(report.get::<u32>("b").unwrap_err()).contains("\"b\" in the line \"report\""));
        assert!(said(report.get::<u32>("unit").unwrap_err()).contains("number \"unit\""));
        assert!(said(TEXT.one("end").unwrap_err()).contains("the line \"end\""));
        for garbled in ["row 0", "row 0g", "row é"] {
            assert!(said(Transcript(garbled).bytes("row").unwrap_err()).contains("row"));
        }
    }
}
