//! No module of the core or of the trainer depends on itself by way of others, and both crates' `lib.rs` list their
//! modules from bottom to top: each uses only what stands above it.

#[path = "modules/graph.rs"]
mod graph;
#[path = "modules/source.rs"]
mod source;
#[path = "modules/tokens.rs"]
mod tokens;

use graph::Graph;
use source::Source;
use std::path::Path;

/// Modules that still lie in cycles.
const KNOWN_CYCLES: [(&str, &str); 2] = [
    (
        "vq-core",
        "bitstream::places bitstream::coder kernels kernels::arm kernels::arm::add \
         kernels::arm::dsp kernels::arm::dsp::portable kernels::arm::dsp::smlad \
         kernels::arm::halves kernels::arm::helium kernels::arm::thumb1 kernels::arm::thumb2 \
         kernels::backend kernels::cpu kernels::neon kernels::scalar kernels::nearest \
         kernels::nearest::blocks kernels::nearest::integer kernels::nearest::lanes \
         kernels::simd128 kernels::tiles kernels::tiles::channels kernels::tiles::integer \
         kernels::tiles::points kernels::tiles::portable kernels::tiles::tile kernels::whole_map \
         kernels::add_i32 kernels::x86 kernels::x86::avx2 kernels::x86::avx512 \
         kernels::x86::float kernels::nearest::direct kernels::nearest::float check check::rows",
    ),
    ("vq-train", ""),
];

fn read(name: &str) -> Source {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(name);
    let folder = package.join("src");
    Source::read(|path| std::fs::read_to_string(folder.join(path)).ok())
}

/// A module as a path; the root is `lib`.
fn name(source: &Source, module: usize) -> String {
    match &source.names[module][..] {
        [] => "lib".into(),
        parts => parts.join("::"),
    }
}

#[test]
fn no_module_depends_on_itself() {
    for (package, known) in KNOWN_CYCLES {
        let source = read(package);
        let graph = Graph::new(source.names.len(), &source.uses);
        let mut found = Vec::new();
        for knot in graph.knots() {
            let cycle = graph.cycle(knot[0]).expect("a knot leads to itself");
            let cycle: Vec<_> = cycle.into_iter().map(|i| name(&source, i)).collect();
            let (len, cycle) = (knot.len(), cycle.join(" > "));
            println!("{package}: {len} modules, as in {cycle}");
            found.extend(knot.into_iter().map(|i| name(&source, i)));
        }
        let known: Vec<&str> = known.split_whitespace().collect();
        let mut new = found.clone();
        new.retain(|module| !known.contains(&module.as_str()));
        assert!(new.is_empty(), "{package}, modules in a cycle: {new:?}");
        let mut gone = known.clone();
        gone.retain(|module| !found.iter().any(|found| found == module));
        let reason = "no longer in a cycle, take them from KNOWN_CYCLES";
        assert!(gone.is_empty(), "{package}: {reason}: {gone:?}");
    }
}

#[test]
fn modules_stand_from_bottom_to_top() {
    for (package, _) in KNOWN_CYCLES {
        let source = read(package);
        let top = source.names.iter().filter(|name| name.len() == 1);
        let order: Vec<&String> = top.map(|name| &name[0]).collect();
        let place = |module: usize| {
            let top = source.names[module].first()?;
            order.iter().position(|name| *name == top)
        };
        let upward = source.uses.iter().filter(|&&(user, used)| {
            // The root may use all modules; its own items are for none of them.
            place(user).is_some_and(|user| place(used).is_none_or(|used| used > user))
        });
        let found: Vec<String> = upward
            .map(|&(user, used)| format!("{} > {}", name(&source, user), name(&source, used)))
            .collect();
        assert!(
            found.is_empty(),
            "{package}, uses of what stands below: {found:#?}"
        );
    }
}
