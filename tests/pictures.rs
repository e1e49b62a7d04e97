//! Packets of several pictures on the host: sorted whatever their order, put together, and numbered.

use std::collections::BTreeSet;
use vq_core::bitstream::{
    CodedPicture, DERIVED_NUMBERS, MISSING, PacketError, Packets, PictureSize, Stream, image_number,
};
use vq_tests::Random;
use vq_train::packets::{Fault, Numbers, Sorted, frames, join};

const NATIVE: PictureSize = PictureSize {
    width: 40,
    height: 24,
};
const SMALL: PictureSize = PictureSize {
    width: 9,
    height: 30,
};

fn stream() -> Stream {
    Stream::new(0x2a5c, NATIVE, 4, &[300, 5]).unwrap()
}

/// A picture on its way.
struct Sent {
    codes: Vec<u16>,
    packets: Vec<Vec<u8>>,
}

impl Sent {
    fn new(random: &mut Random, size: PictureSize, image: u16, packet_bytes: usize) -> Self {
        let stream = stream();
        let cells = stream.code_count(size).unwrap() / 2;
        let mut codes: Vec<u16> = (0..cells).map(|_| random.below(300) as u16).collect();
        codes.extend((0..cells).map(|_| random.below(5) as u16));
        let picture = CodedPicture {
            size,
            image,
            codes: &codes,
        };
        let packets = Packets::new(&stream, picture, packet_bytes).unwrap();
        let mut buffer = vec![0; packet_bytes];
        let write = |index| packets.write(index, &mut buffer).unwrap().to_vec();
        let packets = (0..packets.count()).map(write).collect();
        Self { codes, packets }
    }
}

/// Pictures that differ in number, or in size, or, being one packet each, in nothing but their codes.
fn pictures(random: &mut Random) -> Vec<Sent> {
    let large = 1000;
    let mut pictures = Vec::new();
    for image in 0..1 + random.below(4) as u16 {
        let (size, bytes) = (random.pick(&[NATIVE, SMALL]), random.pick(&[20, 30, 45]));
        pictures.push(Sent::new(random, size, 100 * image, bytes));
        if random.below(2) == 0 {
            pictures.push(Sent::new(random, size, 0, large));
        }
    }
    pictures
}

fn shuffle<T>(random: &mut Random, things: &mut [T]) {
    for i in (1..things.len()).rev() {
        things.swap(i, random.below(i + 1));
    }
}

/// In 500 orders, with packets repeated and one damaged: every packet ends up in its own picture.
#[test]
fn no_packet_is_lost_to_another_picture() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let sent = pictures(&mut random);
        let mut all: Vec<(usize, &[u8])> = Vec::new();
        for (picture, sent) in sent.iter().enumerate() {
            all.extend(sent.packets.iter().map(|packet| (picture, &packet[..])));
        }
        let different = all.len();
        for _ in 0..random.below(6) {
            all.push(all[random.below(different)]);
        }
        shuffle(&mut random, &mut all);
        let mut damaged = all[random.below(all.len())].1.to_vec();
        damaged[4] ^= 0x40;
        let packets: Vec<&[u8]> = all.iter().map(|(_, packet)| *packet).collect();
        let file = join(&[&packets[..], &[&damaged]].concat()).unwrap();

        let frames = frames(&file).map(|frame| (frame.at, frame.packet));
        let sorted = Sorted::new(&stream(), frames);
        let at = file.len() - damaged.len() - 2;
        let error = PacketError::Crc;
        assert_eq!(sorted.faults, [Fault { at, error }]);
        assert!(sorted.shared_numbers().is_empty());
        // In the order in which they began.
        let mut order: Vec<usize> = Vec::new();
        for (picture, _) in &all {
            if !order.contains(picture) {
                order.push(*picture);
            }
        }
        assert_eq!(sorted.pictures.len(), order.len());
        let mut repeated = 0;
        for (bundle, picture) in sorted.pictures.iter().zip(order) {
            let received = bundle.receive(&stream()).unwrap();
            assert_eq!(received.codes, sent[picture].codes);
            assert_eq!(received.packets, sent[picture].packets.len());
            assert_eq!(bundle.share(&stream()), 1.0);
            repeated += bundle.repeated;
        }
        assert_eq!(repeated, all.len() - different);
    }
}

/// A sender that counts from 0 again after each start: the second picture is not blended with the first.
#[test]
fn pictures_of_one_number_are_told_apart_by_their_codes() {
    let mut random = Random::new(1);
    let [first, second] = [(); 2].map(|()| Sent::new(&mut random, NATIVE, 0, 30));
    let last = first.packets.len() - 1;
    let packets = first.packets[..last].iter().chain(&second.packets);
    let packets = packets.map(|packet| Ok(&packet[..])).enumerate();
    let sorted = Sorted::new(&stream(), packets);
    assert_eq!(sorted.shared_numbers(), [0]);
    let [a, b] = &sorted.pictures[..] else {
        panic!("{} pictures", sorted.pictures.len());
    };
    let [a, b] = [a, b].map(|bundle| bundle.receive(&stream()).unwrap());
    assert_eq!((a.packets, a.sent), (last, last + 1));
    assert!(a.codes.contains(&MISSING));
    let told = a.codes.iter().zip(&first.codes);
    assert!(told.clone().all(|(a, first)| a == first || *a == MISSING));
    assert_eq!(b.codes, second.codes);
}

#[test]
fn numbers_are_counted_or_made_from_codes() {
    let codes = |i: u16| [i / 300, i % 300];
    let mut counted = Numbers::from(Some(65535));
    assert_eq!([0, 0].map(|i| counted.next(NATIVE, &codes(i))), [65535, 0]);
    let mut derived = Numbers::from(None);
    let first = derived.next(NATIVE, &codes(7));
    assert_eq!(first, image_number(NATIVE, &codes(7)));
    // As many as there are differ, even of pictures that are alike; and then it goes on.
    let all = DERIVED_NUMBERS.len() as u16;
    let others = (1..all).map(|i| derived.next(NATIVE, &codes(i / 2)));
    let numbers: BTreeSet<u16> = others.chain([first]).collect();
    assert_eq!(numbers.len(), DERIVED_NUMBERS.len());
    assert!(DERIVED_NUMBERS.contains(&derived.next(NATIVE, &codes(1))));
}
