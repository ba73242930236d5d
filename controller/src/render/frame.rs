//! What the two processes say to each other: contents by key, each with its length in front, so
//! that no parser keeps copies of values.

use std::collections::BTreeMap;

use sealkit_core::template::TemplateError;
use zeroize::Zeroizing;

use super::Contents;

const RENDERED: u8 = 0;
const REFUSED: u8 = 1;
const PANICKED: u8 = 2;

/// Texts to render and values that they may read.
pub(super) struct Request {
    pub(super) texts: BTreeMap<String, String>,
    pub(super) values: Contents,
    /// If there are any, the only text is rendered for each of them.
    pub(super) words: Vec<String>,
}

/// A request as bytes.
pub(super) fn request(
    texts: &BTreeMap<String, String>,
    values: &[(&str, &[u8])],
    words: &[&str],
) -> Zeroizing<Vec<u8>> {
    let texts = texts.iter();
    let texts: Vec<_> = texts
        .map(|(key, text)| (key.as_str(), text.as_bytes()))
        .collect();
    let words: Vec<_> = words.iter().map(|word| (*word, &[][..])).collect();
    written(&[], &[&texts, values, &words])
}

impl Request {
    /// `None` if these are not the bytes of a request.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let texts = contents(&mut bytes)?.into_iter();
        let text = |(key, text): (String, Zeroizing<Vec<u8>>)| {
            Some((key, String::from_utf8(text.to_vec()).ok()?))
        };
        let texts = texts.map(text).collect::<Option<_>>()?;
        let values = contents(&mut bytes)?;
        let words = contents(&mut bytes)?.into_keys().collect();
        let request = Self {
            texts,
            values,
            words,
        };
        bytes.is_empty().then_some(request)
    }
}

/// The result of a render.
pub(super) enum Answer {
    Rendered(Contents),
    Refused(TemplateError),
    /// At this place in the source.
    Panicked(String),
}

impl Answer {
    pub(super) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Rendered(contents) => {
                let contents = contents.iter();
                let contents: Vec<_> = contents
                    .map(|(key, content)| (key.as_str(), content.as_slice()))
                    .collect();
                written(&[RENDERED], &[&contents])
            }
            // Public text only; an error encodes as JSON.
            Self::Refused(error) => {
                let json = serde_json::to_vec(error).unwrap_or_default();
                written(&[&[REFUSED], &*json].concat(), &[])
            }
            Self::Panicked(place) => written(&[&[PANICKED], place.as_bytes()].concat(), &[]),
        }
    }

    /// `None` if these are not the bytes of an answer.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        Some(match *kind {
            RENDERED => {
                let contents = contents(&mut rest)?;
                rest.is_empty().then_some(Self::Rendered(contents))?
            }
            REFUSED => Self::Refused(serde_json::from_slice(rest).ok()?),
            PANICKED => Self::Panicked(String::from_utf8_lossy(rest).into_owned()),
            _ => return None,
        })
    }
}

fn written(head: &[u8], groups: &[&[(&str, &[u8])]]) -> Zeroizing<Vec<u8>> {
    let entries = groups.iter().flat_map(|group| group.iter());
    let size: usize = entries
        .map(|(key, content)| key.len() + content.len() + 8)
        .sum();
    // One allocation, so that no value stays behind in a smaller one.
    let mut bytes = Zeroizing::new(Vec::with_capacity(head.len() + size + 4 * groups.len()));
    bytes.extend_from_slice(head);
    for group in groups {
        bytes.extend_from_slice(&length(group.len()));
        for (key, content) in *group {
            for part in [key.as_bytes(), content] {
                bytes.extend_from_slice(&length(part.len()));
                bytes.extend_from_slice(part);
            }
        }
    }
    bytes
}

fn length(count: usize) -> [u8; 4] {
    // An object has 1.2 MB.
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

fn contents(bytes: &mut &[u8]) -> Option<Contents> {
    let count = number(bytes)?;
    let entry = |_| {
        let key = String::from_utf8(part(bytes)?.to_vec()).ok()?;
        Some((key, Zeroizing::new(part(bytes)?.to_vec())))
    };
    (0..count).map(entry).collect()
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = number(bytes)?;
    let (part, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(part)
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let texts = BTreeMap::from([("a".to_owned(), "{{ .A }}".to_owned())]);
        let bytes = request(&texts, &[("A", b"1"), ("B", b"")], &["w"]);
        let read = Request::read(&bytes).unwrap();
        assert_eq!(read.texts, texts);
        assert_eq!(*read.values["A"], b"1");
        assert!(read.values["B"].is_empty());
        assert_eq!(read.words, ["w"]);
        for cut in 0..bytes.len() {
            assert!(Request::read(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(Request::read(&[&bytes[..], b"x"].concat()).is_none());

        let contents = Contents::from([("a".to_owned(), Zeroizing::new(b"1".to_vec()))]);
        let bytes = Answer::Rendered(contents.clone()).bytes();
        assert!(matches!(Answer::read(&bytes), Some(Answer::Rendered(read)) if read == contents));
        for cut in 0..bytes.len() {
            assert!(Answer::read(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(Answer::read(&[9]).is_none());
    }
}
