//! From the file's bytes to pixels and back, nothing is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use vq_core::format::Dtype;
use vq_core::{Decoder, Element, Encoder, Engine, Model, Picture, f16};
use vq_tests::Draft;
use vq_tests::streamed::FullPlan;

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

#[test]
fn parse_plan_decode_and_encode_allocate_nothing() {
    allocate_nothing::<i8>(&Draft::random(11, Dtype::I8).file());
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
    let mut drawn = (0..100).map(|seed| Draft::random(seed, Dtype::F16).file());
    allocate_nothing::<f16>(&drawn.find(both).expect("one of a hundred has both"));
}

fn allocate_nothing<E: Element>(file: &[u8]) {
    let mut plan = FullPlan::new();
    let mut scratch = vec![E::default(); 1 << 20];
    let mut codes = vec![0; 1 << 10];
    let (pixels, mut row) = (vec![100; 1 << 10], vec![0; 1 << 10]);
    assert!(ALLOCATIONS.get() >= 5, "allocations are counted");

    let before = ALLOCATIONS.get();
    let model = Model::parse(file).unwrap();
    let mut layout = plan.encoder(&model, model.native()).unwrap();
    let codes = &mut codes[..layout.code_count()];
    let picture = Picture {
        pixels: &pixels,
        row_bytes: layout.row_bytes(),
    };
    let mut engine = Engine::new(&mut layout, &mut scratch).unwrap();
    Encoder::new(&mut engine, picture)
        .unwrap()
        .encode(codes)
        .unwrap();
    codes[0] = vq_core::bitstream::MISSING;
    let mut layout = plan.decoder(&model, model.native()).unwrap();
    let mut engine = Engine::new(&mut layout, &mut scratch).unwrap();
    let mut decoder = Decoder::new(&mut engine, codes).unwrap();
    let mut rows = 0;
    while decoder.next_row(&mut row).unwrap().is_some() {
        rows += 1;
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(rows, model.native().height);
}
