//! A receiver as a device has it, with all memory in one static: `cargo run -p vq-core --example receive MODEL.vqm IN.vqc`.
//!
//! Packets of several pictures may lie in the file; each picture is decoded when it is complete, or when the next begins.

use std::error::Error;
use std::sync::Mutex;
use std::{env, fs};
use vq_core::bitstream::{Event, Frames, Receiver};
use vq_core::{Decoder, Memory, Model};

/// More than 8-bit models of this size class need on any processor; a device takes what `vq_core::needs` says in its build script.
static MEMORY: Mutex<Memory<129, { 2 << 20 }>> = Mutex::new(Memory::new());

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, packets] = &args[..] else {
        return Err("usage: receive MODEL.vqm IN.vqc".into());
    };
    let (file, packets) = (fs::read(model)?, fs::read(packets)?);
    let model = Model::parse(&file)?;
    let mut receiver = Receiver::new(model.stream(), [0; 1024]);
    for packet in Frames::new(&packets) {
        let Ok(packet) = packet else {
            eprintln!("the file is damaged in one place");
            continue;
        };
        match receiver.push(packet) {
            Ok(Event::Complete) => show(&model, &receiver)?,
            Ok(Event::OtherPicture { newer: true, .. }) => {
                if !receiver.is_complete() {
                    show(&model, &receiver)?;
                }
                receiver.restart();
                receiver.push(packet)?;
            }
            Ok(_) => {}
            Err(why) => eprintln!("{why}"),
        }
    }
    Ok(())
}

/// Prints the picture as characters, one for four pixels by eight.
fn show(model: &Model<'_>, receiver: &Receiver<[u16; 1024]>) -> Result<(), Box<dyn Error>> {
    const SHADES: &[u8] = b" .:-=+*#%@";
    let Some(picture) = receiver.picture() else {
        return Ok(());
    };
    println!("{} packets are missing", receiver.missing().count());
    let mut memory = MEMORY.lock().unwrap();
    let mut decoder = Decoder::new(model, picture.size, &mut memory)?;
    let mut row = vec![0; decoder.plan().row_bytes()];
    let mut rows = decoder.picture(receiver.codes())?;
    while let Some(y) = rows.next_row(&mut row)? {
        if y % 8 == 0 {
            let points = row.chunks_exact(4 * usize::from(model.channels()));
            let shade = |point: &[u8]| SHADES[usize::from(point[0]) * SHADES.len() / 256];
            let line: Vec<u8> = points.map(shade).collect();
            println!("{}", String::from_utf8_lossy(&line));
        }
    }
    Ok(())
}
