//! The headers of a request or response as the host hands them over: one buffer, read once, by bytes.
//!
//! Names and values are whatever the peer sent, obs-text included (RFC 9110 §5.5): nothing here assumes UTF-8 (I10).

use std::ops::Range;

/// Why a header map could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's header map is not in its own format")]
pub struct Malformed;

/// A header map in the host's serialisation (a count, pairs of lengths, then each name and value with a zero byte after),
/// walked once.
pub struct Head {
    raw: Vec<u8>,
    headers: Vec<Place>,
}

/// Where in the buffer one header is.
struct Place {
    name: Range<usize>,
    value: Range<usize>,
}

/// How often a header that may come once has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once<'a> {
    /// Not at all.
    Absent,
    /// Once.
    One(&'a [u8]),
    /// Several times: nobody can say which one the upstream would believe.
    Repeated,
}

impl<'a> Once<'a> {
    /// The value, if there is exactly one.
    pub fn one(self) -> Option<&'a [u8]> {
        match self {
            Once::One(value) => Some(value),
            Once::Absent | Once::Repeated => None,
        }
    }
}

impl Head {
    /// Takes the host's buffer; checks that all of it can be walked.
    ///
    /// # Errors
    /// [`Malformed`] when a length points outside the buffer.
    pub fn parse(raw: Vec<u8>) -> Result<Self, Malformed> {
        if raw.is_empty() {
            return Ok(Self { raw, headers: Vec::new() });
        }
        let (count, rest) = raw.split_at_checked(4).ok_or(Malformed)?;
        let lengths = rest.get(..read_u32(count)?.checked_mul(8).ok_or(Malformed)?).ok_or(Malformed)?;
        let mut at = lengths.len().saturating_add(4);
        // Of lengths that are there: no count can ask for more than the buffer has.
        let mut headers = Vec::with_capacity(lengths.len() / 8);
        for pair in lengths.chunks_exact(8) {
            let (name, value) = pair.split_at_checked(4).ok_or(Malformed)?;
            let name = take(&raw, &mut at, read_u32(name)?)?;
            let value = take(&raw, &mut at, read_u32(value)?)?;
            headers.push(Place { name, value });
        }
        Ok(Self { raw, headers })
    }

    /// Every header in order, names as the host gives them (Envoy: lower case).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|place| (self.bytes(&place.name), self.bytes(&place.value)))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        // The length first: nearly all names differ in it already.
        self.headers
            .iter()
            .filter(move |place| place.name.len() == name.len() && self.bytes(&place.name) == name.as_bytes())
            .map(|place| self.bytes(&place.value))
    }

    /// Of a place that [`Head::parse`] found inside the buffer.
    fn bytes(&self, place: &Range<usize>) -> &[u8] {
        self.raw.get(place.start..place.end).unwrap_or_default()
    }

    /// The value of a header that may come once.
    pub fn once(&self, name: &str) -> Once<'_> {
        let mut found = Once::Absent;
        for value in self.values(name) {
            match found {
                Once::Absent => found = Once::One(value),
                Once::One(_) | Once::Repeated => return Once::Repeated,
            }
        }
        found
    }

    /// The first value of a header, for what the host itself sets.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }
}

fn read_u32(bytes: &[u8]) -> Result<usize, Malformed> {
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| Malformed)?;
    usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Malformed)
}

/// `len` bytes from `at` on, which moves behind them and the zero byte after them.
fn take(raw: &[u8], at: &mut usize, len: usize) -> Result<Range<usize>, Malformed> {
    let end = at.checked_add(len).ok_or(Malformed)?;
    if raw.get(end) != Some(&0) {
        return Err(Malformed);
    }
    let start = std::mem::replace(at, end.saturating_add(1));
    Ok(start..end)
}

/// The host's serialisation of `pairs`, for tests and for nothing else.
#[cfg(test)]
pub(crate) fn serialise(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut raw = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in pairs {
        raw.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        raw.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    }
    for (name, value) in pairs {
        raw.extend_from_slice(name);
        raw.push(0);
        raw.extend_from_slice(value);
        raw.push(0);
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&[u8], &[u8])]) -> Head {
        Head::parse(serialise(pairs)).unwrap()
    }

    #[test]
    fn reads_what_the_host_wrote() {
        let head = head(&[(b":path", b"/a"), (b"x", b""), (b"x", b"2")]);
        assert_eq!(head.once(":path"), Once::One(b"/a".as_slice()));
        assert_eq!(head.once("x"), Once::Repeated);
        assert_eq!(head.once("y"), Once::Absent);
        assert_eq!(head.iter().count(), 3);
    }

    #[test]
    fn h1_obs_text_is_only_bytes() {
        let head = head(&[(b"x-\xff", b"\x80\xfe"), (b"authorization", b"Bearer \xff")]);
        assert_eq!(head.once("authorization"), Once::One(b"Bearer \xff".as_slice()));
    }

    #[test]
    fn an_empty_map_is_no_headers() {
        assert_eq!(Head::parse(Vec::new()).unwrap().iter().count(), 0);
        assert_eq!(head(&[]).iter().count(), 0);
    }

    #[test]
    fn i10_no_cut_and_no_length_makes_it_read_outside() {
        let good = serialise(&[(b":path", b"/a"), (b"authorization", b"Bearer x")]);
        for cut in 1..good.len() {
            assert!(Head::parse(good[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        for at in 0..20 {
            let mut bad = good.clone();
            bad[at] = 0xff;
            assert!(Head::parse(bad).is_err(), "length byte {at}");
        }
    }
}
