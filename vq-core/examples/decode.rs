//! Packets to a picture: `cargo run -p vq-core --features std --example decode MODEL.vqm IN.vqc OUT.ppm`.
//!
//! Packets may be missing, repeated or damaged; what is missing is concealed.

use std::error::Error;
use std::{env, fs};
use vq_core::Codec;
use vq_core::bitstream::{Frames, Receiver};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, packets, out] = &args[..] else {
        return Err("usage: decode MODEL.vqm IN.vqc OUT.ppm".into());
    };
    let codec = Codec::new(fs::read(model)?)?;
    let model = codec.model();
    let room = vec![0; model.stream().code_count(model.native())?];
    let mut receiver = Receiver::new(model.stream(), room);
    for packet in Frames::new(&fs::read(packets)?) {
        if let Err(why) = packet.and_then(|packet| receiver.push(packet)) {
            eprintln!("{why}");
        }
    }
    let picture = receiver.picture().ok_or("no packet is usable")?;
    println!(
        "{} packets of {} are missing",
        receiver.missing().count(),
        picture.packets
    );

    let pixels = codec.decode(receiver.codes(), picture.size)?;

    let kind = if model.channels() == 3 { "P6" } else { "P5" };
    let size = picture.size;
    let mut file = format!("{kind} {} {} 255\n", size.width, size.height).into_bytes();
    file.extend(pixels);
    Ok(fs::write(out, file)?)
}
