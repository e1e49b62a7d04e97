//! Decodes the picture of the packets in flash: a line for each row of pixels, then a report.

#![cfg_attr(target_os = "none", no_std, no_main)]

use vq_core::format::container::CRC;
use vq_firmware::payload::NEEDS;
use vq_firmware::session::{Memory, Session, fail, open};
use vq_firmware::text::{hex_line, line};
use vq_firmware::{board, stack};

vq_firmware::entry!(run, Memory);

fn run(memory: &mut Memory) {
    open(memory, decode);
}

fn decode(session: Session) {
    let Session {
        mut decoder,
        codes,
        row,
        start,
        ..
    } = session;
    let mut crc = CRC.digest();
    let mut began = board::now();
    let mut rows = decoder.picture(codes).unwrap_or_else(|e| fail(&e));
    let mut spent = 0;
    loop {
        let made = rows.next_row(row).unwrap_or_else(|e| fail(&e));
        // Sending the row does not count.
        spent += board::now() - began;
        if made.is_none() {
            break;
        }
        crc.update(row);
        hex_line("row", row);
        began = board::now();
    }
    let deepest = stack::used();
    line(format_args!(
        "report unit={} start={start} decode={spent} scratch={} stack={deepest} crc32={:08x}",
        board::UNIT,
        NEEDS.scratch,
        crc.finalize(),
    ));
}
