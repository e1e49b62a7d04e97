//! What each operator of the decoder costs: a line for each, then one for what lies between them.

#![cfg_attr(target_os = "none", no_std, no_main)]

use vq_core::Probe;
use vq_firmware::board;
use vq_firmware::payload::NEEDS;
use vq_firmware::session::{Memory, Session, fail, open};
use vq_firmware::text::line;

vq_firmware::entry!(run, Memory);

/// Values of the decoder's graph.
const VALUES: usize = NEEDS.values;

fn run(memory: &mut Memory) {
    open(memory, bench);
}

fn bench(session: Session) {
    let Session {
        mut decoder,
        codes,
        row,
        model,
        ..
    } = session;
    let grid = decoder.plan().grid();
    let mut costs = Costs {
        of: [0; VALUES],
        between: 0,
        last: board::now(),
    };
    let mut rows = decoder.picture(codes).unwrap_or_else(|e| fail(&e));
    while rows
        .next_row_with(&mut costs, row)
        .unwrap_or_else(|e| fail(&e))
        .is_some()
    {}
    line(format_args!("unit {}", board::UNIT));
    line(format_args!(
        "layer index=0 op=embedding macs=0 cost={}",
        costs.of[0]
    ));
    for (layer, cost) in model.decoder().layers().zip(&costs.of[1..]) {
        let macs = layer.macs(grid);
        let (index, op) = (layer.index + 1, layer.op.name());
        line(format_args!(
            "layer index={index} op={op} macs={macs} cost={cost}"
        ));
    }
    line(format_args!(
        "layer index={VALUES} op=between macs=0 cost={}",
        costs.between
    ));
}

/// Adds up what passes between the runner's calls.
struct Costs {
    /// For each value: from before its rows to after them.
    of: [u64; VALUES],
    /// All the rest: choosing what is due, rows of padding, pixels to bytes.
    between: u64,
    last: u64,
}

impl Costs {
    fn lap(&mut self) -> u64 {
        let now = board::now();
        now - core::mem::replace(&mut self.last, now)
    }
}

impl<E> Probe<E> for Costs {
    fn before(&mut self, _: usize) {
        self.between += self.lap();
    }

    fn after(&mut self, value: usize, _: u32, _: &[E]) {
        self.of[value] += self.lap();
    }
}
