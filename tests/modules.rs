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

const PACKAGES: [&str; 2] = ["vq-core", "vq-train"];

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
    for package in PACKAGES {
        let source = read(package);
        let graph = Graph::new(source.names.len(), &source.uses);
        let cycles = graph.knots().into_iter().map(|knot| {
            let cycle = graph.cycle(knot[0]).expect("a knot leads to itself");
            let cycle: Vec<_> = cycle.into_iter().map(|i| name(&source, i)).collect();
            format!("{} modules, as in {}", knot.len(), cycle.join(" > "))
        });
        let found: Vec<String> = cycles.collect();
        assert!(found.is_empty(), "{package}: {found:#?}");
    }
}

#[test]
fn modules_stand_from_bottom_to_top() {
    for package in PACKAGES {
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
