//! From the file's bytes to pixels and back, nothing is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use vq_core::bitstream::{
    CodedPicture, Frames, Packets, PictureSize, Receiver, Stream, frame_length, image_number,
};
use vq_core::format::{Dtype, MAX_OPS};
use vq_core::{Decoder, Encoder, Memory, Model, Picture};
use vq_tests::Draft;

/// The system's allocator, with a count of what this thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` above, hence from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The memory of a device.
static MEMORY: Mutex<Memory<{ MAX_OPS + 1 }, { 1 << 20 }>> = Mutex::new(Memory::new());

#[test]
fn parse_plan_decode_and_encode_allocate_nothing() {
    for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
        allocate_nothing(&Draft::random(11, dtype).file());
    }
}

#[test]
fn operators_that_see_the_whole_map_allocate_nothing() {
    let names = |file: &[u8]| -> Vec<_> {
        let model = Model::parse(file).unwrap();
        let networks = [Some(model.decoder()), model.encoder()];
        let ops = networks.into_iter().flatten().flat_map(|n| n.ops());
        ops.map(|op| op.name()).collect()
    };
    let both = |file: &Vec<u8>| {
        let names = names(file);
        names.contains(&"group_norm") && names.contains(&"attention")
    };
    for dtype in [Dtype::F16, Dtype::F32] {
        let mut drawn = (0..100).map(|seed| Draft::random(seed, dtype).file());
        allocate_nothing(&drawn.find(both).expect("one of a hundred has both"));
    }
}

#[test]
fn packets_are_written_and_received_without_allocating() {
    let size = PictureSize {
        width: 64,
        height: 48,
    };
    let stream = Stream::new(7, size, 4, &[300, 5]).unwrap();
    let codes = [4; 2 * 16 * 12];
    let mut file = Vec::with_capacity(2000);

    let before = ALLOCATIONS.get();
    let image = image_number(size, &codes);
    let picture = CodedPicture {
        size,
        image,
        codes: &codes,
    };
    let packets = Packets::new(&stream, picture, 40).unwrap();
    for index in 0..packets.count() {
        let mut packet = [0; 40];
        let packet = packets.write(index, &mut packet).unwrap();
        file.extend(frame_length(packet).unwrap());
        file.extend_from_slice(packet);
    }
    // A damaged length, behind which the next packet is looked for.
    file[0] ^= 0x40;
    file.push(b'\n');
    let mut receiver = Receiver::new(&stream, [0; 2 * 16 * 12]);
    for packet in Frames::new(&file).filter_map(Result::ok) {
        receiver.push(packet).unwrap();
    }
    assert_eq!(receiver.missing().count(), 0);
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(receiver.codes(), codes);
}

fn allocate_nothing(file: &[u8]) {
    let mut memory = MEMORY.lock().unwrap();
    let mut codes = vec![0; 1 << 10];
    let (pixels, mut row, mut points) = (vec![100; 1 << 10], vec![0; 1 << 10], vec![0; 1 << 10]);
    assert!(ALLOCATIONS.get() >= 4, "allocations are counted");

    let before = ALLOCATIONS.get();
    let model = Model::parse(file).unwrap();
    let mut encoder = Encoder::new(&model, model.native(), &mut memory).unwrap();
    let codes = &mut codes[..encoder.plan().code_count()];
    let picture = Picture {
        pixels: &pixels,
        row_bytes: encoder.plan().row_bytes(),
    };
    encoder.encode(picture, codes).unwrap();
    codes[0] = vq_core::bitstream::MISSING;
    let mut decoder = Decoder::new(&model, model.native(), &mut memory).unwrap();
    let mut made = 0;
    let mut rows = decoder.picture(codes).unwrap();
    while rows.next_row(&mut row).unwrap().is_some() {
        made += 1;
    }
    let mut rows = decoder.picture(codes).unwrap();
    while rows.next_row_rgb565(&mut points).unwrap().is_some() {
        made += 1;
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(made, 2 * model.native().height);
}
