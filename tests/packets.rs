//! Codes through packets and back: any grid, stages, packet size, subset and order.

use proptest::prelude::*;
use proptest::sample::Index;
use vq_core::bitstream::{
    CodedPicture, Event, Fragment, Frames, Header, MISSING, Packet, PacketError, Packets,
    PictureSize, Receiver, Stream, frame_length,
};

/// A picture's codes and the stream that they belong to.
#[derive(Clone, Debug)]
struct Sample {
    stream: Stream,
    size: PictureSize,
    image: u16,
    codes: Vec<u16>,
}

impl Sample {
    fn picture(&self) -> CodedPicture<'_> {
        CodedPicture {
            size: self.size,
            image: self.image,
            codes: &self.codes,
        }
    }

    fn packets(&self, packet_bytes: usize) -> Vec<Vec<u8>> {
        let packets = Packets::new(&self.stream, self.picture(), packet_bytes).unwrap();
        let mut buffer = vec![0; packet_bytes];
        let write = |index| packets.write(index, &mut buffer).unwrap().to_vec();
        (0..packets.count()).map(write).collect()
    }
}

fn sides() -> impl Strategy<Value = PictureSize> {
    (1u16..80, 1u16..80).prop_map(|(width, height)| PictureSize { width, height })
}

fn samples() -> impl Strategy<Value = Sample> {
    let k = prop_oneof![Just(1), Just(2), Just(512), Just(65535), 1u16..=65535];
    let stages = prop::collection::vec(k, 1..4);
    let stream =
        (any::<u16>(), sides(), 1u16..10, stages).prop_map(|(model, native, down, stages)| {
            Stream::new(model, native, down, &stages).unwrap()
        });
    let picture = (
        stream,
        prop::option::of(sides()),
        any::<u16>(),
        any::<u64>(),
    );
    picture.prop_map(|(stream, other, image, seed)| {
        let size = other.unwrap_or(stream.native());
        let codes = codes(&stream, size, seed);
        Sample {
            stream,
            size,
            image,
            codes,
        }
    })
}

/// Some codes of a picture.
fn codes(stream: &Stream, size: PictureSize, seed: u64) -> Vec<u16> {
    let cells = stream.grid(size).unwrap().cells() as usize;
    let mut state = seed;
    let code = |k: u16| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 33) % u64::from(k)) as u16
    };
    let stages = stream.stages().iter();
    stages.flat_map(|&k| vec![k; cells]).map(code).collect()
}

/// Pictures of one stream that differ in number, in size, or, where each is one packet, in nothing but their codes.
#[derive(Clone, Debug)]
struct Several {
    stream: Stream,
    codes: Vec<Vec<u16>>,
    packets: Vec<Vec<Vec<u8>>>,
}

impl Several {
    /// All packets, each with the picture that it belongs to.
    fn sent(&self) -> Vec<(usize, Vec<u8>)> {
        let packets = self.packets.iter().enumerate();
        let sent = packets
            .flat_map(|(picture, packets)| packets.iter().map(move |p| (picture, p.clone())));
        sent.collect()
    }
}

fn several() -> impl Strategy<Value = Several> {
    let sizes = prop::collection::vec((1u16..30, 1u16..30), 1..3);
    let pictures = prop::collection::vec((any::<Index>(), any::<u64>()), 2..5);
    let limit = prop_oneof![20usize..40, Just(65535)];
    (sizes, pictures, 3u16..600, limit).prop_map(|(sizes, pictures, k, limit)| {
        let size = |(width, height)| PictureSize { width, height };
        let stream = Stream::new(7, size(sizes[0]), 2, &[k]).unwrap();
        let mut several = Several {
            stream: stream.clone(),
            codes: Vec::new(),
            packets: Vec::new(),
        };
        for (image, (pick, seed)) in pictures.into_iter().enumerate() {
            let size = size(sizes[pick.index(sizes.len())]);
            let mut codes = codes(&stream, size, seed);
            // No two alike: the first code is the picture's.
            codes[0] = image as u16 % k;
            if image as u16 >= k {
                continue;
            }
            let sample = Sample {
                stream: stream.clone(),
                size,
                image: 5 * image as u16,
                codes,
            };
            several.packets.push(sample.packets(limit));
            several.codes.push(sample.codes);
        }
        several
    })
}

/// What happens to a place of a file.
#[derive(Clone, Debug)]
struct Damage {
    /// Bytes that are lost there.
    gone: usize,
    /// Bytes that stand there instead.
    put: Vec<u8>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let put = prop::collection::vec(any::<u8>(), 0..4);
    (0usize..30, put).prop_map(|(gone, put)| Damage { gone, put })
}

/// Packets as a file.
fn join(packets: &[Vec<u8>]) -> Vec<u8> {
    let frame = |packet: &Vec<u8>| [&frame_length(packet).unwrap(), &packet[..]].concat();
    packets.iter().flat_map(frame).collect()
}

/// Few bytes often, many sometimes.
fn packet_sizes() -> impl Strategy<Value = usize> {
    prop_oneof![20usize..60, 20usize..300, Just(65535)]
}

/// A packet that is accepted is the one that would be written for what is in it.
fn writes_back(packet: &[u8], stream: &Stream) {
    if let Ok(view) = Packet::check(packet, stream) {
        let mut codes = vec![0; stream.code_count(view.size()).unwrap()];
        view.codes().for_each(|(index, code)| codes[index] = code);
        let mut buffer = vec![0; packet.len()];
        assert_eq!(
            view.header().emit(stream, &codes, &mut buffer),
            Ok(packet.len())
        );
        assert_eq!(buffer, packet);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(sample in samples(), packet_bytes in packet_sizes()) {
        let packets = sample.packets(packet_bytes);
        let mut codes = vec![0; sample.codes.len()];
        let mut receiver = Receiver::new(&sample.stream, &mut codes);
        for (i, packet) in packets.iter().enumerate() {
            prop_assert!(packet.len() <= packet_bytes);
            let last = i + 1 == packets.len();
            let event = if last { Event::Complete } else { Event::Codes };
            prop_assert_eq!(receiver.push(packet), Ok(event));
            writes_back(packet, &sample.stream);
        }
        prop_assert_eq!(receiver.codes(), &sample.codes[..]);
        prop_assert_eq!(receiver.size(), Some(sample.size));
        prop_assert_eq!(usize::from(receiver.packet_count()), packets.len());
        let image = Some(sample.image).filter(|_| packets.len() > 1);
        prop_assert_eq!(receiver.image(), image);
    }

    /// Divided by one less, the picture would not keep to the limit.
    #[test]
    fn no_packet_too_many(sample in samples(), packet_bytes in packet_sizes()) {
        let packets = Packets::new(&sample.stream, sample.picture(), packet_bytes).unwrap();
        let header = packets.header(0);
        let fewer = packets.count() - 1;
        let mut parts = (0..fewer).map(|index| {
            let part = Fragment { image: sample.image, index, count: fewer };
            let fragment = (fewer > 1).then_some(part);
            Header { fragment, ..header }.packet_len(&sample.stream, &sample.codes).unwrap()
        });
        prop_assert!(fewer == 0 || parts.any(|length| length > packet_bytes));
    }

    #[test]
    fn any_packets_in_any_order(
        sample in samples(),
        packet_bytes in packet_sizes(),
        picks in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let packets = sample.packets(packet_bytes);
        let mut codes = vec![7; sample.codes.len() + 3];
        let mut receiver = Receiver::new(&sample.stream, &mut codes);
        let mut expected = vec![MISSING; sample.codes.len()];
        let mut seen = vec![false; packets.len()];
        for pick in &picks {
            let index = pick.index(packets.len());
            let event = receiver.push(&packets[index]).unwrap();
            prop_assert_eq!(event == Event::Repeated, seen[index]);
            seen[index] = true;
            let complete = event == Event::Complete;
            prop_assert_eq!(complete, event != Event::Repeated && !seen.contains(&false));
            let missing: Vec<_> = receiver.missing().map(usize::from).collect();
            let unseen: Vec<_> = (0..packets.len()).filter(|&i| !seen[i]).collect();
            prop_assert_eq!(missing, unseen);
            let packet = Packet::check(&packets[index], &sample.stream).unwrap();
            packet.codes().for_each(|(index, code)| expected[index] = code);
        }
        if picks.is_empty() {
            expected.clear();
        }
        let present = expected.iter().filter(|&&code| code != MISSING).count();
        let different = seen.iter().filter(|&&seen| seen).count();
        prop_assert_eq!(receiver.codes(), expected);
        prop_assert_eq!(receiver.codes_present(), present);
        prop_assert_eq!(usize::from(receiver.packets_present()), different);
        prop_assert_eq!(receiver.packets_repeated() as usize, picks.len() - different);
        prop_assert_eq!(receiver.is_complete(), present == sample.codes.len());
    }

    /// One receiver, one buffer: it takes what belongs to the picture that it follows and tells of everything else,
    /// which another receiver can then have.
    #[test]
    fn packets_of_several_pictures_do_not_mix(
        (pictures, sent) in several().prop_flat_map(|pictures| {
            let sent = pictures.sent();
            (Just(pictures), Just(sent).prop_shuffle())
        }),
        repeats in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let stream = &pictures.stream;
        let mut sent = sent;
        for repeat in repeats {
            let again = sent[repeat.index(sent.len())].clone();
            sent.insert(repeat.index(sent.len()), again);
        }
        let mut followed: Vec<(Receiver<Vec<u16>>, usize)> = Vec::new();
        for (picture, packet) in &sent {
            let mut taken = 0;
            for (receiver, follows) in &mut followed {
                let before = receiver.codes().to_vec();
                let event = receiver.push(packet).unwrap();
                let other = matches!(event, Event::OtherPicture { newer: true, .. });
                prop_assert_eq!(other, picture != follows);
                prop_assert!(!other || receiver.codes() == before);
                taken += usize::from(!other);
            }
            if taken == 0 {
                let codes = vec![0; pictures.codes[*picture].len()];
                let mut receiver = Receiver::new(stream, codes);
                receiver.push(packet).unwrap();
                followed.push((receiver, *picture));
            }
            prop_assert!(taken <= 1);
        }
        prop_assert_eq!(followed.len(), pictures.codes.len());
        for (receiver, picture) in followed {
            prop_assert_eq!(receiver.codes(), &pictures.codes[picture]);
        }
    }

    #[test]
    fn another_model_is_refused(sample in samples(), flip in 1u16..=65535) {
        let model = sample.stream.model() ^ flip;
        let (native, stages) = (sample.stream.native(), sample.stream.stages());
        let other = Stream::new(model, native, sample.stream.down(), stages).unwrap();
        for packet in sample.packets(100) {
            prop_assert_eq!(Packet::check(&packet, &other).err(), Some(PacketError::WrongModel));
        }
    }

    #[test]
    fn cut_and_flipped_packets_are_refused(sample in samples(), pick: Index) {
        let packets = sample.packets(60);
        let packet = &packets[pick.index(packets.len())];
        for length in 0..packet.len() {
            prop_assert!(Packet::check(&packet[..length], &sample.stream).is_err());
        }
        for bit in 0..8 * packet.len() {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Packet::check(&flipped, &sample.stream).is_err());
        }
    }

    /// Damage that the check sum does not show.
    #[test]
    fn mutations_with_a_good_check_sum(
        sample in samples(),
        pick: Index,
        edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        resize in prop::option::of(0usize..80),
    ) {
        let packets = sample.packets(60);
        let packet = &packets[pick.index(packets.len())];
        let mut body = packet[..packet.len() - 2].to_vec();
        for (place, byte) in edits {
            let head = body.len().min(14);
            body[place.index(head)] = byte;
        }
        body.resize(resize.unwrap_or(body.len()), 0);
        let packet = vq_tests::seal(body);
        writes_back(&packet, &sample.stream);
        let mut codes = vec![0; sample.codes.len()];
        let mut receiver = Receiver::new(&sample.stream, &mut codes);
        if receiver.push(&packet).is_err() {
            prop_assert_eq!((receiver.codes_present(), receiver.packets_present()), (0, 0));
            prop_assert!(codes.iter().all(|&code| code == MISSING));
        }
    }

    #[test]
    fn any_bytes(body: Vec<u8>, first in 0x10u8..0x18) {
        let stream = Stream::new(0, PictureSize { width: 16, height: 16 }, 4, &[9, 2]).unwrap();
        let mut body = body;
        prop_assert!(Packet::check(&body, &stream).is_err() || Header::read(&body).is_ok());
        body.splice(0..0, [first, 0, 0]);
        writes_back(&vq_tests::seal(body), &stream);
    }

    /// As long as the lengths are good, a file gives back what was put into it, be it packets or not; here none is, nor
    /// can any part of it be taken for one.
    #[test]
    fn files(packets in prop::collection::vec(prop::collection::vec(0x20..=0xffu8, 1..16), 0..6)) {
        let file = join(&packets);
        let read: Result<Vec<&[u8]>, _> = Frames::new(&file).collect();
        prop_assert_eq!(read, Ok(packets.iter().map(Vec::as_slice).collect()));
        let ends = packets.iter().scan(0, |end, packet| {
            *end += 2 + packet.len();
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        for length in 1..file.len() {
            let error = Frames::new(&file[..length]).find_map(Result::err);
            let whole = ends.iter().rev().find(|&&end| end <= length).unwrap_or(&0);
            let expected = match length - whole {
                0 => None,
                1 => Some(PacketError::FileStray),
                _ => Some(PacketError::FileTruncated),
            };
            prop_assert_eq!(error, expected);
        }
    }

    /// Damage in one place of a file costs the packets in that place, and no others; where only a length is damaged,
    /// none.
    #[test]
    fn damaged_files(
        sample in samples(),
        damage in damage(),
        place: Index,
    ) {
        let packets = sample.packets(60);
        let mut file = join(&packets);
        let at = place.index(file.len());
        let end = (at + damage.gone).min(file.len());
        file.splice(at..end, damage.put.iter().copied());
        let mut start = 0;
        let untouched = packets.iter().filter(|packet| {
            let whole = start..start + 2 + packet.len();
            start = whole.end;
            // The bytes of the packet itself; its length may be lost.
            at.max(end.saturating_sub(1)) < whole.start + 2 || at >= whole.end
        });
        let untouched: Vec<&[u8]> = untouched.map(Vec::as_slice).collect();
        let good = |packet: &&[u8]| Header::read(packet).is_ok();
        let read: Vec<&[u8]> = Frames::new(&file).filter_map(Result::ok).filter(good).collect();
        // In one of some 10,000 cases 16 bits of a check sum are right by chance.
        prop_assume!(read.iter().all(|read| packets.iter().any(|packet| packet == read)));
        for packet in &untouched {
            prop_assert!(read.contains(packet), "{} of {}", read.len(), packets.len());
        }
        let faults = Frames::new(&file).count() - read.len();
        prop_assert!(faults <= 2 + damage.put.len(), "{faults} faults");
    }
}
