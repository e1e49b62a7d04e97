//! A picture to packets: `cargo run -p vq-core --features std --example encode MODEL.vqm PICTURE.ppm OUT.vqc [BYTES]`.
//!
//! The picture is a binary PPM or PGM of as many channels as the model has; a packet has at most BYTES bytes, 222 unless said.

use std::error::Error;
use std::{env, fs};
use vq_core::bitstream::{CodedPicture, Packets, frame_length, image_number};
use vq_core::{Codec, PictureSize};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, picture, out, rest @ ..] = &args[..] else {
        return Err("usage: encode MODEL.vqm PICTURE.ppm OUT.vqc [BYTES]".into());
    };
    let most: usize = rest.first().map_or(Ok(222), |bytes| bytes.parse())?;
    let codec = Codec::new(fs::read(model)?)?;
    let file = fs::read(picture)?;
    let (size, pixels) = netpbm(&file).ok_or("not a binary PPM or PGM of 8 bits")?;

    let codes = codec.encode(pixels, size)?;

    let model = codec.model();
    let coded = CodedPicture {
        size,
        image: image_number(size, &codes),
        codes: &codes,
    };
    let packets = Packets::new(model.stream(), coded, most)?;
    let mut framed = Vec::new();
    for index in 0..packets.count() {
        let mut buffer = vec![0; most];
        let packet = packets.write(index, &mut buffer)?;
        framed.extend(frame_length(packet)?);
        framed.extend(packet);
    }
    println!("{} packets, {} bytes", packets.count(), framed.len());
    Ok(fs::write(out, framed)?)
}

/// Size and samples of a file `P6 width height 255` (or P5, grey), without comments.
fn netpbm(file: &[u8]) -> Option<(PictureSize, &[u8])> {
    let mut rest = file;
    let mut word = || {
        let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let len = rest[start..].iter().position(u8::is_ascii_whitespace)?;
        let (word, behind) = rest[start..].split_at(len);
        rest = &behind[1..];
        std::str::from_utf8(word).ok()
    };
    let _kind = word().filter(|kind| matches!(*kind, "P5" | "P6"))?;
    let (width, height) = (word()?.parse().ok()?, word()?.parse().ok()?);
    let _ = word().filter(|most| *most == "255")?;
    Some((PictureSize { width, height }, rest))
}
