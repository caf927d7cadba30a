//! The header by which a proxy that passes bytes on says whose they are: the PROXY protocol, versions 1 and 2.

use std::net::IpAddr;

use ppp::{PartialResult, v1, v2};

/// Longest header of version 1, with its line end.
const LONGEST_1: usize = 107;
/// Longest of version 2 that is taken: addresses, and what else a proxy may tell.
const LONGEST_2: usize = 16 + 4096;

/// A header that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it takes.
    pub length: usize,
    /// Whose connection it is; `None` for the proxy's own, such as a health check, and where it does not know.
    pub source: Option<IpAddr>,
}

/// What is at the beginning of a connection is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOne;

/// Reads the header that `bytes` begin with; `None` until all of it is there.
///
/// # Errors
/// When they begin with none.
pub fn read(bytes: &[u8]) -> Result<Option<ProxyHeader>, NotOne> {
    let is_text = v1::PROTOCOL_PREFIX.as_bytes();
    let common = bytes.len().min(is_text.len());
    if bytes.get(..common) == is_text.get(..common) {
        return read_text(bytes);
    }
    let announced = bytes.get(14..16).and_then(|length| length.try_into().ok());
    if announced.is_some_and(|length| usize::from(u16::from_be_bytes(length)) + 16 > LONGEST_2) {
        return Err(NotOne);
    }
    let header = v2::Header::try_from(bytes);
    if header.is_incomplete() {
        return Ok(None);
    }
    let header = header.map_err(|_| NotOne)?;
    let source = match (header.command, &header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some(IpAddr::V4(ip.source_address)),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some(IpAddr::V6(ip.source_address)),
        _ => None,
    };
    Ok(Some(ProxyHeader {
        length: header.as_bytes().len(),
        source: source.map(|address| address.to_canonical()),
    }))
}

fn read_text(bytes: &[u8]) -> Result<Option<ProxyHeader>, NotOne> {
    let begins = bytes.get(..bytes.len().min(LONGEST_1)).unwrap_or_default();
    let Some(end) = begins.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < LONGEST_1 {
            Ok(None)
        } else {
            Err(NotOne)
        };
    };
    let length = end + 2;
    let line = bytes.get(..length).ok_or(NotOne)?;
    let header = v1::Header::try_from(line).map_err(|_| NotOne)?;
    let source = match header.addresses {
        v1::Addresses::Tcp4(ip) => Some(IpAddr::V4(ip.source_address)),
        v1::Addresses::Tcp6(ip) => Some(IpAddr::V6(ip.source_address)),
        v1::Addresses::Unknown => None,
    };
    Ok(Some(ProxyHeader {
        length,
        source: source.map(|address| address.to_canonical()),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        header.extend(payload);
        header
    }

    /// The source that the header names, or `-`.
    fn source(bytes: &[u8]) -> String {
        // However the bytes come.
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Ok(None), "{length}");
        }
        let header = read(&[bytes, b"GET / "].concat()).unwrap().unwrap();
        assert_eq!(header.length, bytes.len());
        let source = header.source.map(|source| source.to_string());
        source.unwrap_or("-".to_owned())
    }

    #[test]
    fn both_versions_tell_the_source() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 0, 80];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        let tlv = [&v4[..], &[4, 0, 3, 0, 0, 0]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(),
                "192.0.2.1",
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n".to_vec(),
                "2001:db8::1",
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(),
                "192.0.2.1",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "-"),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "-"),
            (binary(1, 0x11, &v4), "192.0.2.1"),
            (binary(1, 0x11, &tlv), "192.0.2.1"),
            (binary(1, 0x21, &v6), "2001:db8::"),
            (binary(0, 0x11, &v4), "-"),
            (binary(0, 0, &[]), "-"),
            (binary(1, 0, &[]), "-"),
            (binary(1, 0x31, &[0; 216]), "-"),
        ] {
            assert_eq!(source(&header), expected, "{header:?}");
        }
    }

    #[test]
    fn anything_else_is_no_header() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 120]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 x 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
            b"PROXYTCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            binary(2, 0x11, &[0; 12]),
            binary(1, 0x11, &[0; 11]),
            binary(1, 0x11, &[0; 5000])[..40].to_vec(),
            long,
        ] {
            assert_eq!(read(&bytes), Err(NotOne), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in any::<bool>()) {
            let beginning: &[u8] = if text { b"PROXY " } else { b"\r\n\r\n\0\r\nQUIT\n" };
            let _ = read(&[beginning, &bytes].concat());
            let _ = read(&bytes);
        }
    }
}
