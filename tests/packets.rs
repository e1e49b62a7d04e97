//! Codes through packets and back: any grid, stages, packet size, subset and order.

use proptest::prelude::*;
use proptest::sample::Index;
use vq_core::bitstream::{
    Added, Assembly, CodedPicture, Fragment, Frames, Header, MISSING, Packet, PacketError, Packets,
    PictureSize, Stream, frame_length,
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
        let cells = stream.grid(size).unwrap().cells() as usize;
        let mut state = seed;
        let mut code = |k: u16| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 33) % u64::from(k)) as u16
        };
        let codes = stream
            .stages()
            .iter()
            .flat_map(|&k| vec![k; cells])
            .map(&mut code)
            .collect();
        Sample {
            stream,
            size,
            image,
            codes,
        }
    })
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
        let mut assembly = Assembly::new(&sample.stream, &mut codes);
        for packet in &packets {
            prop_assert!(packet.len() <= packet_bytes);
            prop_assert_eq!(assembly.add(packet), Ok(Added::Codes));
            writes_back(packet, &sample.stream);
        }
        prop_assert!(assembly.is_complete());
        prop_assert_eq!(assembly.codes(), &sample.codes[..]);
        prop_assert_eq!(assembly.size(), Some(sample.size));
        prop_assert_eq!(usize::from(assembly.packet_count()), packets.len());
        let image = Some(sample.image).filter(|_| packets.len() > 1);
        prop_assert_eq!(assembly.image(), image);
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
            Header { fragment, ..header }.packet_len(&sample.stream).unwrap()
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
        let mut assembly = Assembly::new(&sample.stream, &mut codes);
        let mut expected = vec![MISSING; sample.codes.len()];
        let mut seen = vec![false; packets.len()];
        for pick in &picks {
            let index = pick.index(packets.len());
            let added = if seen[index] { Added::Repeated } else { Added::Codes };
            prop_assert_eq!(assembly.add(&packets[index]), Ok(added));
            seen[index] = true;
            let packet = Packet::check(&packets[index], &sample.stream).unwrap();
            packet.codes().for_each(|(index, code)| expected[index] = code);
        }
        if picks.is_empty() {
            expected.clear();
        }
        let present = expected.iter().filter(|&&code| code != MISSING).count();
        let different = seen.iter().filter(|&&seen| seen).count();
        prop_assert_eq!(assembly.codes(), expected);
        prop_assert_eq!(assembly.codes_present(), present);
        prop_assert_eq!(usize::from(assembly.packets_present()), different);
        prop_assert_eq!(assembly.packets_repeated() as usize, picks.len() - different);
        prop_assert_eq!(assembly.is_complete(), present == sample.codes.len());
    }

    #[test]
    fn packets_of_two_pictures_do_not_mix(sample in samples(), other in 0u16..=65535) {
        let second = Sample { image: other, ..sample.clone() };
        let (first, second) = (sample.packets(20), second.packets(20));
        let mut codes = vec![0; sample.codes.len()];
        let mut assembly = Assembly::new(&sample.stream, &mut codes);
        assembly.add(&first[0]).unwrap();
        let last = second.last().unwrap();
        let expected = if first.len() > 1 && other != sample.image {
            Err(PacketError::OtherPicture)
        } else {
            Ok(if first.len() == 1 { Added::Repeated } else { Added::Codes })
        };
        prop_assert_eq!(assembly.add(last), expected);
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
        let mut assembly = Assembly::new(&sample.stream, &mut codes);
        if assembly.add(&packet).is_err() {
            prop_assert_eq!((assembly.codes_present(), assembly.packets_present()), (0, 0));
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

    #[test]
    fn files(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)) {
        let mut file = Vec::new();
        for packet in &packets {
            file.extend(frame_length(packet).unwrap());
            file.extend(packet);
        }
        let read: Result<Vec<&[u8]>, _> = Frames::new(&file).collect();
        prop_assert_eq!(read, Ok(packets.iter().map(Vec::as_slice).collect()));
        let ends = packets.iter().scan(0, |end, packet| {
            *end += 2 + packet.len();
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        for length in 1..file.len() {
            let error = Frames::new(&file[..length]).find_map(Result::err);
            let cut = !ends.contains(&length);
            prop_assert_eq!(error, cut.then_some(PacketError::FileTruncated));
        }
    }
}
