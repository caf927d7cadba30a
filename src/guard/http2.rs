//! What a connection of HTTP/2 may do that costs more than it carries: streams that are reset, and frames that
//! bring nothing. Frames are told by their heads as the bytes pass; what is in them is the library's.

use std::time::Duration;

use super::bucket::Bucket;

/// RFC 9113 §3.4: what a client sends before its first frame.
const PREFACE: u32 = 24;
/// RFC 9113 §4.1.
const FRAME_HEAD: usize = 9;
/// RFC 9113 §6.4, §6.9: the code of an error, or by how much a window grows, follows the head.
const WITH_NUMBER: usize = FRAME_HEAD + 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// RFC 9113 §6.1.
const END_STREAM: u8 = 1;
/// RFC 9113 §6.5, §6.7.
const ACK: u8 = 1;

/// Frames that bring nothing, at once and a second.
const EMPTY: (u32, u32) = (1000, 100);
/// How many more of them a request allows, and a frame of an answer's body: who takes answers fast has windows
/// to update and round trips to measure.
const PER_USEFUL: u32 = 4;
const MOST_CREDIT: u32 = 4096;
/// Windows that grow by less have answers cut into crumbs (CVE-2019-9511): clients wait until more is missing.
const SMALLEST_UPDATE: u32 = 256;
/// RFC 9113 §7.
const REFUSED_STREAM: u32 = 7;

/// A frame whose head has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    /// Of an `RST_STREAM` its code, and of a `WINDOW_UPDATE` by how much.
    number: u32,
}

/// Finds the frames in what passes.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    head: [u8; WITH_NUMBER],
    have: usize,
    /// What is still to pass before the next head.
    rest: u32,
}

impl Frames {
    fn advance(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let passed = self.rest.min(length);
                self.rest -= passed;
                let passed = usize::try_from(passed).unwrap_or(usize::MAX);
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let wanted = self.wanted();
            let missing = wanted.saturating_sub(self.have).min(bytes.len());
            let (part, after) = bytes.split_at(missing);
            let room = self.head.get_mut(self.have..self.have + missing);
            if let Some(room) = room {
                room.copy_from_slice(part);
            }
            self.have += missing;
            bytes = after;
            let whole = self.wanted();
            if self.have == whole {
                let frame = self.frame();
                let read = u32::from(whole == WITH_NUMBER) * 4;
                self.rest = frame.length.saturating_sub(read);
                self.have = 0;
                each(frame);
            }
        }
    }

    /// Whether the next byte begins a frame.
    fn is_between(&self) -> bool {
        self.have == 0 && self.rest == 0
    }

    /// How many bytes are looked at: of some frames the number behind the head as well.
    fn wanted(&self) -> usize {
        let with_number = self.have >= FRAME_HEAD
            && matches!(self.head, [0, 0, 4, RST_STREAM | WINDOW_UPDATE, ..]);
        if with_number { WITH_NUMBER } else { FRAME_HEAD }
    }

    fn frame(&self) -> Frame {
        let number = |at: usize| {
            let bytes = self.head.get(at..at + 4);
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        let byte = |at: usize| self.head.get(at).copied().unwrap_or_default();
        Frame {
            length: number(0) >> 8,
            kind: byte(3),
            flags: byte(4),
            stream: number(5) & 0x7fff_ffff,
            number: number(FRAME_HEAD),
        }
    }
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    /// Too many streams were reset, by the client or for its errors.
    Resets,
    /// Too many frames that bring nothing.
    EmptyFrames,
}

/// What has passed on a connection.
#[derive(Debug)]
pub struct Http2Watch {
    received: Frames,
    sent: Frames,
    resets: Bucket,
    empty: Bucket,
    credit: u32,
    begun: bool,
    /// The highest stream of the client.
    last: u32,
    /// Streams that may be reset at once, and a tenth of that a second.
    most_resets: u32,
}

/// What a piece of it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Streams that were reset.
    pub resets: u32,
    /// Why the connection is to end.
    pub abuse: Option<Abuse>,
}

impl Http2Watch {
    /// A connection that begins. So many streams may be reset at once, and a tenth of that a second.
    pub fn new(most_resets: u32) -> Self {
        Self {
            received: Frames {
                rest: PREFACE,
                ..Frames::default()
            },
            sent: Frames::default(),
            resets: Bucket::default(),
            empty: Bucket::default(),
            credit: MOST_CREDIT,
            begun: false,
            last: 0,
            most_resets,
        }
    }

    /// The client sent `bytes`; `now` is the uptime.
    pub fn received(&mut self, bytes: &[u8], now: Duration) -> Passed {
        let mut frames = self.received;
        let (mut passed, mut begun) = (Passed::default(), false);
        frames.advance(bytes, |frame| {
            begun = true;
            match frame.kind {
                HEADERS => {
                    self.last = self.last.max(frame.stream);
                    self.credit = self.credit.saturating_add(PER_USEFUL).min(MOST_CREDIT);
                }
                DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => {}
                RST_STREAM => self.reset(now, &mut passed),
                SETTINGS | PING if frame.flags & ACK != 0 => {}
                WINDOW_UPDATE if frame.length == 4 && frame.number < SMALLEST_UPDATE => {
                    self.nothing(now, &mut passed);
                }
                _ => self.empty(now, &mut passed),
            }
        });
        self.received = frames;
        self.begun |= begun;
        passed
    }

    /// So much was written to the client.
    pub fn sent(&mut self, bytes: &[u8], now: Duration) -> Passed {
        let mut frames = self.sent;
        let mut passed = Passed::default();
        frames.advance(bytes, |frame| match frame.kind {
            DATA => self.credit = self.credit.saturating_add(PER_USEFUL).min(MOST_CREDIT),
            RST_STREAM if is_the_clients_fault(frame.number) => self.reset(now, &mut passed),
            RST_STREAM if frame.number == REFUSED_STREAM => {
                // More streams than there may be: what was a request brought nothing.
                self.credit = self.credit.saturating_sub(PER_USEFUL);
                self.empty(now, &mut passed);
            }
            _ => {}
        });
        self.sent = frames;
        passed
    }

    /// Whether the client has sent a whole frame's head.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// A last frame for the client, where one may be written now: GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113 §6.8,
    /// §7).
    pub fn goodbye(&self) -> Option<[u8; 17]> {
        let [a, b, c, d] = self.last.to_be_bytes();
        let frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0xb];
        self.sent.is_between().then_some(frame)
    }

    fn reset(&mut self, now: Duration, passed: &mut Passed) {
        passed.resets += 1;
        let most = self.most_resets;
        if !self.resets.take(now, (most / 10).max(1), most) {
            passed.abuse.get_or_insert(Abuse::Resets);
        }
    }

    fn empty(&mut self, now: Duration, passed: &mut Passed) {
        if self.credit > 0 {
            self.credit -= 1;
        } else {
            self.nothing(now, passed);
        }
    }

    fn nothing(&mut self, now: Duration, passed: &mut Passed) {
        if !self.empty.take(now, EMPTY.1, EMPTY.0) {
            passed.abuse.get_or_insert(Abuse::EmptyFrames);
        }
    }
}

/// Whether the code of a reset says that the client broke a rule: that is how it can have streams reset without
/// doing it itself (CVE-2025-8671).
fn is_the_clients_fault(code: u32) -> bool {
    // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR (RFC 9113 §7).
    matches!(code, 1 | 3 | 5 | 6 | 9)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn begun(most_resets: u32) -> Http2Watch {
        let mut watch = Http2Watch::new(most_resets);
        watch.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOW);
        watch
    }

    /// After how many of them the connection ends, of at most `most`.
    fn ends_after(watch: &mut Http2Watch, frame: &[u8], most: usize) -> Option<usize> {
        (1..=most).find(|_| watch.received(frame, NOW).abuse.is_some())
    }

    #[test]
    fn streams_may_be_reset_so_many_times_and_then_a_tenth_of_that_a_second() {
        let mut watch = begun(50);
        let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
        assert_eq!(ends_after(&mut watch, &reset, 1000), Some(51));
        let mut watch = begun(50);
        for second in 0..100 {
            for _ in 0..5 {
                let now = NOW + Duration::from_secs(second);
                let passed = watch.received(&reset, now);
                assert_eq!((passed.resets, passed.abuse), (1, None));
            }
        }
    }

    #[test]
    fn resets_that_the_client_has_us_make_count_as_its_own() {
        for (code, ends) in [
            (1, true),
            (3, true),
            (5, true),
            (0, false),
            (2, false),
            (7, false),
        ] {
            let mut watch = begun(10);
            let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, code]);
            let ended = (0..50).any(|_| watch.sent(&reset, NOW).abuse == Some(Abuse::Resets));
            assert_eq!(ended, ends, "{code}");
        }
    }

    #[test]
    fn frames_that_bring_nothing_are_bounded() {
        for (kind, flags, payload) in [
            (DATA, 0, &[][..]),
            (2, 0, &[0; 5]),
            (SETTINGS, 0, &[]),
            (PING, 0, &[0; 8]),
            (WINDOW_UPDATE, 0, &[0, 0, 0x10, 0]),
            (9, 0, &[0; 10]),
            (0x42, 0, &[]),
        ] {
            let ended = ends_after(&mut begun(100), &frame(kind, flags, 1, payload), 10_000);
            assert_eq!(ended, Some(5097), "{kind}");
        }
        for (kind, flags, payload) in [
            (DATA, END_STREAM, &[][..]),
            (DATA, 0, &[1]),
            (HEADERS, 5, &[0x82]),
            (SETTINGS, ACK, &[]),
            (PING, ACK, &[0; 8]),
        ] {
            let ended = ends_after(&mut begun(100), &frame(kind, flags, 1, payload), 10_000);
            assert_eq!(ended, None, "{kind}");
        }
    }

    #[test]
    fn who_takes_answers_may_update_windows() {
        let mut watch = begun(100);
        let (update, data) = (
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]),
            frame(DATA, 0, 1, &[0; 10]),
        );
        for _ in 0..100_000 {
            assert_eq!(watch.sent(&data, NOW).abuse, None);
            for _ in 0..4 {
                assert_eq!(watch.received(&update, NOW).abuse, None);
            }
        }
    }

    #[test]
    fn who_has_answers_cut_into_crumbs_is_ended() {
        let mut watch = begun(100);
        let (update, crumb) = (
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            frame(DATA, 0, 1, &[0]),
        );
        let ended = (1..10_000).find(|_| {
            assert_eq!(watch.sent(&crumb, NOW).abuse, None);
            watch.received(&update, NOW).abuse == Some(Abuse::EmptyFrames)
        });
        assert_eq!(ended, Some(1001));
    }

    #[test]
    fn more_streams_than_there_may_be_bring_nothing() {
        let mut watch = begun(100);
        let (head, refusal) = (
            frame(HEADERS, 4, 7, &[0x82]),
            frame(RST_STREAM, 0, 7, &[0, 0, 0, 7]),
        );
        let ended = (1..20_000).find(|_| {
            assert_eq!(watch.received(&head, NOW).abuse, None);
            watch.sent(&refusal, NOW).abuse == Some(Abuse::EmptyFrames)
        });
        assert!(ended.is_some_and(|after| after > 500), "{ended:?}");
        // A client that has not heard yet how many there may be is not ended.
        assert_eq!(watch.sent(&refusal, NOW).resets, 0);
    }

    #[test]
    fn a_goodbye_names_the_last_stream_and_never_cuts_a_frame() {
        let mut watch = begun(100);
        watch.received(&frame(HEADERS, 5, 7, &[0x82]), NOW);
        assert_eq!(watch.goodbye().unwrap()[9..13], [0, 0, 0, 7]);
        let data = frame(DATA, 0, 1, &[0; 10]);
        watch.sent(&data[..12], NOW);
        assert_eq!(watch.goodbye(), None);
        watch.sent(&data[12..], NOW);
        assert!(watch.goodbye().is_some());
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_are_cut(
            kinds in proptest::collection::vec((0..12_u8, 0..20_usize), 1..20),
            cuts in proptest::collection::vec(1..9_usize, 1..50),
        ) {
            let all: Vec<u8> = kinds
                .iter()
                .flat_map(|(kind, length)| {
                    let length = if *kind == RST_STREAM { 4 } else { *length };
                    frame(*kind, 0, 1, &vec![0xff; length])
                })
                .collect();
            let mut frames = Frames::default();
            let mut found = Vec::new();
            let (mut rest, mut cuts) = (all.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                frames.advance(piece, |frame| found.push(frame.kind));
                rest = after;
            }
            let expected: Vec<u8> = kinds.iter().map(|(kind, _)| *kind).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(frames.is_between());
        }
    }
}
