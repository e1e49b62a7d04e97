//! What must hold for any bytes as packets; run by the fuzzer and, on what it found, by the tests.
//!
//! Input: byte 0 chooses the stream, and whether each packet gets the stream's model id and a good
//! check sum, without which hardly anything would reach the code behind it; the rest is a file of
//! packets.

use crc::{CRC_16_IBM_3740, Crc};
use vq_core::bitstream::{Event, Frames, Header, MISSING, Packet, PictureSize, Receiver, Stream};

/// Bit of byte 0.
const MEND: u8 = 0x80;

/// Panics if one of the packet reader's promises is broken; returns how many packets were refused.
pub(crate) fn run(data: &[u8]) -> usize {
    let Some((&choice, file)) = data.split_first() else {
        return 0;
    };
    let mut refused = 0;
    let stream = stream(choice);
    let mut receiver = Receiver::new(&stream, [0; 4096]);
    for packet in Frames::new(file).filter_map(Result::ok) {
        let mut packet = packet.to_vec();
        if choice & MEND != 0 {
            mend(&mut packet, &stream);
        }
        let before = receiver.codes_present();
        match receiver.push(&packet) {
            Ok(event) => {
                writes_back(&packet, &stream);
                if matches!(event, Event::OtherPicture { .. }) {
                    assert_eq!(receiver.codes_present(), before);
                    refused += 1;
                }
                said_truly(&receiver, event);
            }
            Err(_) => {
                assert_eq!(receiver.codes_present(), before);
                refused += 1;
            }
        }
        let _ = Header::read(&packet);
    }
    let stages = receiver.code_count() / stream.stages().len();
    let codes = receiver.codes().chunks(stages.max(1)).zip(stream.stages());
    for (codes, &k) in codes {
        assert!(codes.iter().all(|&code| code < k || code == MISSING));
    }
    refused
}

/// The receiver's counts agree with its codes and with what it has said.
fn said_truly(receiver: &Receiver<[u16; 4096]>, event: Event) {
    let present = receiver.codes().iter().filter(|&&code| code != MISSING);
    assert_eq!(present.count(), receiver.codes_present());
    let missing = receiver.missing().count();
    let (come, all) = (receiver.packets_present(), receiver.packet_count());
    assert_eq!(missing + usize::from(come), usize::from(all));
    assert_eq!(missing == 0, receiver.is_complete());
    match event {
        Event::Codes => assert!(!receiver.is_complete()),
        Event::Complete => assert!(receiver.is_complete()),
        _ => {}
    }
}

fn stream(choice: u8) -> Stream {
    let stages: &[u16] = match choice % 4 {
        0 => &[512],
        1 => &[5, 2],
        2 => &[65535, 1, 300],
        _ => &[1],
    };
    let native = PictureSize {
        width: 40,
        height: 24,
    };
    Stream::new(0x2a5c, native, 1 << (choice / 4 % 4), stages).unwrap()
}

/// Overwrites model id and check sum with right ones.
fn mend(packet: &mut [u8], stream: &Stream) {
    let Some((body, crc)) = packet.split_last_chunk_mut::<2>() else {
        return;
    };
    if let [_, low, high, ..] = body {
        [*low, *high] = stream.model().to_le_bytes();
    }
    *crc = Crc::<u16>::new(&CRC_16_IBM_3740)
        .checksum(body)
        .to_le_bytes();
}

/// What was accepted is what would be written for the codes in it.
fn writes_back(packet: &[u8], stream: &Stream) {
    let view = Packet::check(packet, stream).unwrap();
    let mut codes = vec![0; stream.code_count(view.size()).unwrap()];
    let mut count = 0;
    for (index, code) in view.codes() {
        codes[index] = code;
        count += 1;
    }
    assert!(count > 0);
    let mut written = vec![0; packet.len()];
    assert_eq!(
        view.header().emit(stream, &codes, &mut written),
        Ok(packet.len())
    );
    assert_eq!(written, packet);
}
