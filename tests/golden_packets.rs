//! FORMAT.md's packets, byte for byte: what is written there, written by hand or by another
//! program, is what the core writes and reads.

use vq_core::bitstream::{
    CodedPicture, DERIVED_NUMBERS, Event, Fragment, Frames, Header, Packet, PacketError, Packets,
    PictureId, PictureSize, Receiver, Scan, Stream, frame_length, image_number,
};

/// 32 x 24 pixels, 8 pixels a code, 5 codes: a grid of 4 x 3 codes of three bits.
const CODES: [u16; 12] = [0, 1, 2, 3, 4, 3, 2, 1, 0, 4, 0, 4];
const NATIVE: PictureSize = PictureSize {
    width: 32,
    height: 24,
};

fn stream(stages: &[u16]) -> Stream {
    Stream::new(0x2a5c, NATIVE, 8, stages).unwrap()
}

/// `header` and `codes` make exactly `bytes`, and the other way round.
fn pinned(stream: &Stream, header: Header, codes: &[u16], bytes: &[u8]) {
    let mut buffer = [0xaa; 64];
    let length = header.emit(stream, codes, &mut buffer).unwrap();
    assert_eq!(&buffer[..length], bytes);
    assert_eq!(header.packet_len(stream, codes), Ok(length));
    assert_eq!(Header::read(bytes), Ok(header));
    let packet = Packet::check(bytes, stream).unwrap();
    assert_eq!(packet.header(), header);
    assert!(packet.codes().all(|(index, code)| codes[index] == code));
}

const WHOLE: [u8; 10] = [0x10, 0x5c, 0x2a, 0x05, 0x38, 0xd1, 0x10, 0x40, 0x12, 0x94];

#[test]
fn whole_picture() {
    let header = Header {
        model: 0x2a5c,
        size: None,
        scan: Scan::Raster,
        fragment: None,
    };
    pinned(&stream(&[5]), header, &CODES, &WHOLE);
    assert_eq!(header.overhead(), 5);
}

const FRAGMENTS: [[u8; 10]; 3] = [
    [0x15, 0x5c, 0x2a, 0x07, 0x00, 0x03, 0x01, 0x00, 0x77, 0x42],
    [0x15, 0x5c, 0x2a, 0x07, 0x01, 0x03, 0x64, 0xc0, 0x50, 0x19],
    [0x15, 0x5c, 0x2a, 0x07, 0x02, 0x03, 0x72, 0x20, 0x77, 0xd6],
];

#[test]
fn three_fragments() {
    for (index, bytes) in (0..3).zip(FRAGMENTS) {
        let fragment = Some(Fragment {
            image: 7,
            index,
            count: 3,
        });
        let header = Header {
            model: 0x2a5c,
            size: None,
            scan: Scan::Dithered,
            fragment,
        };
        pinned(&stream(&[5]), header, &CODES, &bytes);
        assert_eq!(header.overhead(), 8);
    }
}

const TWO_STAGES: [[u8; 13]; 2] = [
    [
        0x17, 0x5c, 0x2a, 0x18, 0x10, 0x80, 0x01, 0x00, 0x02, 0x88, 0x30, 0x7f, 0x41,
    ],
    [
        0x17, 0x5c, 0x2a, 0x18, 0x10, 0x80, 0x01, 0x01, 0x02, 0x31, 0xd0, 0x70, 0x6e,
    ],
];

#[test]
fn two_stages_of_another_size() {
    let codes = [4, 3, 2, 1, 0, 4, 0, 1, 1, 0, 1, 1];
    let size = Some(PictureSize {
        width: 24,
        height: 16,
    });
    for (index, bytes) in (0..2).zip(TWO_STAGES) {
        let fragment = Some(Fragment {
            image: 128,
            index,
            count: 2,
        });
        let header = Header {
            model: 0x2a5c,
            size,
            scan: Scan::Dithered,
            fragment,
        };
        pinned(&stream(&[5, 2]), header, &codes, &bytes);
    }
}

/// FORMAT.md has the bytes in blocks marked `vqc`, each line's comment behind two spaces.
#[test]
fn format_md_has_these_bytes() {
    let blocks = include_str!("../vq-core/FORMAT.md")
        .split("```vqc\n")
        .skip(1);
    let packets = blocks.map(|block| {
        let lines = block.split("```").next().unwrap().lines();
        let bytes = lines.flat_map(|line| line.split("  ").next().unwrap().split(' '));
        bytes
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    });
    let packets: Vec<Vec<u8>> = packets.collect();
    assert_eq!(
        packets,
        [&WHOLE[..], &FRAGMENTS[1], &TWO_STAGES[0], &TWO_STAGES[1]]
    );
}

#[test]
fn one_raster_packet_spends_five_bytes_beside_the_codes() {
    let stream = Stream::new(
        1,
        PictureSize {
            width: 128,
            height: 128,
        },
        8,
        &[512],
    )
    .unwrap();
    let codes = [511; 256];
    let picture = CodedPicture {
        size: stream.native(),
        image: 0,
        codes: &codes,
    };
    let packets = Packets::new(&stream, picture, 293).unwrap();
    let mut buffer = [0; 293];
    assert_eq!(packets.count(), 1);
    assert_eq!(packets.write(0, &mut buffer).unwrap().len(), 288 + 5);
}

#[test]
fn a_fragment_at_native_size_spends_at_most_twelve_bytes() {
    let fragment = Some(Fragment {
        image: u16::MAX,
        index: 16382,
        count: 16383,
    });
    let most = Header {
        model: 0xffff,
        size: None,
        scan: Scan::Dithered,
        fragment,
    };
    assert_eq!(most.overhead(), 12);
    let stream = Stream::new(
        1,
        PictureSize {
            width: 128,
            height: 128,
        },
        8,
        &[512],
    )
    .unwrap();
    let codes = [511; 256];
    let picture = CodedPicture {
        size: stream.native(),
        image: 127,
        codes: &codes,
    };
    let packets = Packets::new(&stream, picture, 222).unwrap();
    assert_eq!(packets.count(), 2);
    assert!((0..2).all(|index| packets.header(index).overhead() == 8));
}

#[test]
fn file_of_packets() {
    let mut file = Vec::new();
    for packet in &FRAGMENTS {
        file.extend(frame_length(packet).unwrap());
        file.extend(packet);
    }
    assert_eq!(file[..4], [0x0a, 0x00, 0x15, 0x5c]);
    let stream = stream(&[5]);
    let mut codes = [0; 12];
    let mut receiver = Receiver::new(&stream, &mut codes);
    for packet in Frames::new(&file) {
        receiver.push(packet.unwrap()).unwrap();
    }
    assert!(receiver.is_complete());
    assert_eq!(receiver.codes(), CODES);
}

/// Each fault that a packet can have, made from the whole picture above, and its name.
#[test]
fn faults_have_names() {
    let stream = stream(&[5]);
    let fault = |bytes: &[u8]| Packet::check(bytes, &stream).unwrap_err();
    let sealed = |bytes: &[u8]| fault(&sealed(bytes));
    assert_eq!(fault(&[]), PacketError::Truncated);
    assert_eq!(fault(&[0x10]), PacketError::Truncated);
    assert_eq!(fault(&[0x00, 0x5c, 0x2a]), PacketError::NotAPacket);
    assert_eq!(fault(&[0x20, 0x5c, 0x2a]), PacketError::Newer);
    assert_eq!(fault(&[0x18, 0x5c, 0x2a]), PacketError::Newer);
    assert_eq!(fault(&WHOLE[..9]), PacketError::Crc);
    assert_eq!(sealed(&[0x10, 0x5c]), PacketError::Truncated);
    assert_eq!(sealed(&[0x12, 0x5c, 0x2a, 0x85]), PacketError::Truncated);
    assert_eq!(
        sealed(&[0x12, 0x5c, 0x2a, 0x85, 0x00, 0x01]),
        PacketError::Varint
    );
    assert_eq!(
        sealed(&[0x12, 0x5c, 0x2a, 0xff, 0xff, 0x04, 0x01]),
        PacketError::Varint
    );
    assert_eq!(
        sealed(&[0x12, 0x5c, 0x2a, 0xff, 0xff, 0x83, 0x00]),
        PacketError::Varint
    );
    assert_eq!(sealed(&[0x10, 0x5d, 0x2a]), PacketError::WrongModel);
    assert_eq!(sealed(&[0x12, 0x5c, 0x2a, 0x00, 0x01]), PacketError::Size);
    assert_eq!(sealed(&[0x12, 0x5c, 0x2a, 0x20, 0x18]), PacketError::Size);
    let huge = [0x12, 0x5c, 0x2a, 0xff, 0xff, 0x03, 0xff, 0xff, 0x03];
    assert_eq!(sealed(&huge), PacketError::Size);
    assert_eq!(
        sealed(&[0x15, 0x5c, 0x2a, 0x07, 0x00, 0x01]),
        PacketError::Fragment
    );
    assert_eq!(
        sealed(&[0x15, 0x5c, 0x2a, 0x07, 0x03, 0x03]),
        PacketError::Fragment
    );
    assert_eq!(
        sealed(&[0x15, 0x5c, 0x2a, 0x07, 0x00, 0x0d]),
        PacketError::Fragment
    );
    assert_eq!(sealed(&[0x10, 0x5c, 0x2a, 0, 0, 0, 0]), PacketError::Length);
    assert_eq!(
        sealed(&[0x10, 0x5c, 0x2a, 0, 0, 0, 0, 0, 0]),
        PacketError::Length
    );
    assert_eq!(
        sealed(&[0x10, 0x5c, 0x2a, 0xa0, 0, 0, 0, 0]),
        PacketError::Code
    );
    assert_eq!(
        sealed(&[0x10, 0x5c, 0x2a, 0, 0, 0, 0, 0x01]),
        PacketError::Padding
    );
    let frames = |file: &[u8]| Frames::new(file).find_map(Result::err);
    assert_eq!(frames(&[]), None);
    assert_eq!(frames(&[1]), Some(PacketError::FileStray));
    assert_eq!(frames(&[2, 0, 9]), Some(PacketError::FileTruncated));
    assert_eq!(frames(&[1, 0, 9, 0, 0]), Some(PacketError::FileEmptyPacket));
}

fn sealed(body: &[u8]) -> Vec<u8> {
    vq_tests::seal(body.to_vec())
}

#[test]
fn senders_faults_have_names() {
    let five = stream(&[5]);
    let picture = CodedPicture {
        size: NATIVE,
        image: 0,
        codes: &CODES,
    };
    let fault = |picture, bytes| Packets::new(&five, picture, bytes).unwrap_err();
    assert_eq!(fault(picture, 19), PacketError::PacketSize);
    assert_eq!(fault(picture, 65536), PacketError::PacketSize);
    assert_eq!(
        fault(
            CodedPicture {
                codes: &CODES[1..],
                ..picture
            },
            20
        ),
        PacketError::CodeCount
    );
    assert_eq!(
        fault(
            CodedPicture {
                codes: &[5; 12],
                ..picture
            },
            20
        ),
        PacketError::Code
    );
    let size = PictureSize {
        width: 0,
        height: 8,
    };
    assert_eq!(
        fault(CodedPicture { size, ..picture }, 20),
        PacketError::Size
    );
    let packets = Packets::new(&five, picture, 20).unwrap();
    assert_eq!(packets.write(1, &mut [0; 20]), Err(PacketError::Fragment));
    assert_eq!(packets.write(0, &mut [0; 9]), Err(PacketError::Buffer));
    assert_eq!(frame_length(&[]), Err(PacketError::FileEmptyPacket));
    assert_eq!(frame_length(&[0; 65536]), Err(PacketError::PacketSize));
    for (down, stages) in [(0, &[5][..]), (8, &[]), (8, &[5, 0]), (8, &[2; 9])] {
        assert_eq!(
            Stream::new(0, NATIVE, down, stages),
            Err(PacketError::Stream)
        );
    }
    let size = PictureSize {
        width: 4097,
        height: 4096,
    };
    assert_eq!(Stream::new(0, size, 1, &[2]), Err(PacketError::Size));
    let size = PictureSize {
        width: 4096,
        height: 4096,
    };
    let large = Stream::new(0, size, 1, &[65535]).unwrap();
    let codes = vec![0; 4096 * 4096];
    let picture = CodedPicture {
        size,
        image: 0,
        codes: &codes,
    };
    assert_eq!(
        Packets::new(&large, picture, 20).unwrap_err(),
        PacketError::TooManyPackets
    );
}

#[test]
fn a_receiver_says_what_it_has_and_what_is_missing() {
    let stream = stream(&[5]);
    let mut receiver = Receiver::new(&stream, [0; 12]);
    let missing = |receiver: &Receiver<_>| receiver.missing().collect::<Vec<_>>();
    assert_eq!((receiver.codes(), receiver.picture()), (&[][..], None));
    assert_eq!(missing(&receiver), []);
    assert_eq!(receiver.push(&FRAGMENTS[1]), Ok(Event::Codes));
    assert_eq!(receiver.push(&FRAGMENTS[1]), Ok(Event::Repeated));
    assert_eq!(missing(&receiver), [0, 2]);
    assert_eq!(receiver.push(&FRAGMENTS[2]), Ok(Event::Codes));
    assert_eq!(missing(&receiver), [0]);
    assert_eq!((receiver.codes_present(), receiver.code_count()), (8, 12));
    assert_eq!(
        (receiver.packets_present(), receiver.packet_count()),
        (2, 3)
    );
    assert_eq!(receiver.packets_repeated(), 1);
    assert_eq!(receiver.push(&FRAGMENTS[0]), Ok(Event::Complete));
    assert_eq!(receiver.push(&FRAGMENTS[0]), Ok(Event::Repeated));
    assert_eq!(missing(&receiver), []);
    assert_eq!(receiver.into_codes(), CODES);
}

/// Where neither model nor size nor number tells pictures apart, the codes do.
#[test]
fn packets_of_other_pictures_are_told_and_not_taken() {
    let stream = stream(&[5]);
    let mut receiver = Receiver::new(&stream, [0; 12]);
    receiver.push(&FRAGMENTS[1]).unwrap();
    let mut other_image = FRAGMENTS[0][..8].to_vec();
    other_image[3] = 8;
    let mut other_codes = FRAGMENTS[1][..8].to_vec();
    other_codes[6] = 0;
    let seven = receiver.picture().unwrap();
    let eight = PictureId {
        image: Some(8),
        ..seven
    };
    let whole = PictureId {
        image: None,
        size: NATIVE,
        scan: Scan::Raster,
        packets: 1,
    };
    let [other_image, other_codes] = [other_image, other_codes].map(|body| sealed(&body));
    let other = |picture, newer| Ok(Event::OtherPicture { picture, newer });
    assert_eq!(receiver.push(&other_image), other(eight, true));
    assert_eq!(receiver.push(&other_codes), other(seven, true));
    assert_eq!(receiver.push(&WHOLE), other(whole, true));
    let has = (receiver.codes_present(), receiver.packets_present());
    assert_eq!(has, (4, 1));
    // The caller decides; then the packets of the picture before are late.
    receiver.restart();
    assert_eq!(receiver.push(&other_image), Ok(Event::Codes));
    assert_eq!(receiver.image(), Some(8));
    assert_eq!(receiver.push(&FRAGMENTS[1]), other(seven, false));
    assert_eq!(receiver.push(&WHOLE), other(whole, true));
    // A sender that has begun anew under the number of the picture before.
    receiver.restart();
    receiver.push(&FRAGMENTS[1]).unwrap();
    receiver.restart();
    receiver.push(&other_codes).unwrap();
    assert_eq!(receiver.push(&FRAGMENTS[1]), other(seven, true));
    assert_eq!(receiver.push(&FRAGMENTS[0]), Ok(Event::Codes));
}

/// It can be kept in a `static`, in a task's state, or beside a file that was opened at run time.
#[test]
fn a_receiver_borrows_nothing_of_its_stream() {
    fn kept<T: Send + Sync + 'static>(_: T) {}
    let new = || stream(&[5]);
    kept(Receiver::new(&new(), [0; 12]));
    kept(Receiver::new(&new(), vec![0; 12]));
    kept(None::<Receiver<&'static mut [u16]>>);
}

#[test]
fn a_receiver_without_room_refuses() {
    let mut receiver = Receiver::new(&stream(&[5]), [0; 11]);
    assert_eq!(receiver.push(&WHOLE), Err(PacketError::Buffer));
    assert_eq!(receiver.push(&FRAGMENTS[0]), Err(PacketError::Buffer));
    assert_eq!((receiver.picture(), receiver.codes_present()), (None, 0));
}

#[test]
fn numbers_of_pictures_come_from_size_and_codes() {
    let number = image_number(NATIVE, &CODES);
    assert!(DERIVED_NUMBERS.contains(&number));
    let wide = PictureSize {
        width: 33,
        ..NATIVE
    };
    assert_ne!(image_number(wide, &CODES), number);
    // Each code of each picture counts.
    let mut others: Vec<u16> = (0..12)
        .map(|at| {
            let mut codes = CODES;
            codes[at] += 1;
            image_number(NATIVE, &codes)
        })
        .chain([number])
        .collect();
    others.sort_unstable();
    others.dedup();
    assert_eq!(others.len(), 13);
    assert!(DERIVED_NUMBERS.into_iter().all(|number| {
        let fragment = Some(Fragment {
            image: number,
            index: 0,
            count: 2,
        });
        let header = Header {
            model: 0,
            size: None,
            scan: Scan::Dithered,
            fragment,
        };
        header.overhead() == 9
    }));
}
