//! Answers of the API server as UTF-8, which JSON must be. The names of fields in `managedFields`
//! come back byte for byte as somebody wrote them; one byte would end a list or a watch for all.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use hyper::body::{Body, Bytes, Frame};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::util::MapResponseLayer;

/// A client of a cluster whose answers are UTF-8.
pub fn client(config: Config) -> kube::Result<Client> {
    let readable = MapResponseLayer::new(|answer: Response<_>| answer.map(Utf8::new));
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&readable)
        .build())
}

/// A body with U+FFFD for what is not UTF-8.
struct Utf8<B> {
    body: B,
    decoder: Decoder,
}

impl<B> Utf8<B> {
    fn new(body: B) -> Self {
        let decoder = Decoder::default();
        Self { body, decoder }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Utf8<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(self.decoder.end().map(Frame::data).map(Ok)),
        };
        let frame = match frame.into_data() {
            Ok(data) => Frame::data(self.decoder.decode(data)),
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

/// Replaces what is not UTF-8, whatever parts the bytes come in.
#[derive(Default)]
struct Decoder {
    /// The beginning of a character whose end is in the next part.
    begun: Vec<u8>,
}

impl Decoder {
    fn decode(&mut self, part: Bytes) -> Bytes {
        if self.begun.is_empty() && std::str::from_utf8(&part).is_ok() {
            return part;
        }
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(&part);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let is_last = chunks.peek().is_none();
            if is_last && is_begun(chunk.invalid()) {
                self.begun = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text.into()
    }

    /// What is left once all parts have come.
    fn end(&mut self) -> Option<Bytes> {
        let begun = std::mem::take(&mut self.begun);
        (!begun.is_empty()).then(|| char::REPLACEMENT_CHARACTER.to_string().into())
    }
}

/// Bytes as text that is no longer than they are, with `?` for each that is not UTF-8.
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    Cow::Owned(text)
}

/// Could more bytes make a character of it?
fn is_begun(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_replaced_wherever_parts_end() {
        let bytes =
            b"{\"f:\xff\xe2\x82\": \"\xe2\x82\xac \xf0\x9f\x94\x92 \xed\xa0\x80\"} \xf0\x9f";
        let whole = String::from_utf8_lossy(bytes);
        for size in 1..=bytes.len() {
            let mut decoder = Decoder::default();
            let mut text = Vec::new();
            for part in bytes.chunks(size) {
                text.extend(decoder.decode(Bytes::copy_from_slice(part)));
            }
            text.extend(decoder.end().unwrap_or_default());
            assert_eq!(String::from_utf8(text).unwrap(), whole, "parts of {size}");
        }
    }

    #[test]
    fn readable_text_is_no_longer_than_its_bytes() {
        assert_eq!(readable(b"\xe2\x82\xac \xff\xe2\x82"), "€ ???");
        let bytes = [0xff; 1_000];
        assert_eq!(readable(&bytes).len(), bytes.len());
        assert!(matches!(readable(b"a"), Cow::Borrowed("a")));
    }
}
